/** Ask the server, again and again while that makes sense, and show trouble in one way. */

import { useCallback, useEffect, useState, type ReactNode } from "react";

import { useTexts } from "./texts";

const POLL_MS = 1000;

export interface Loaded<T> {
  data: T | null;
  hasFailed: boolean;
  reload: () => Promise<void>;
}

/** Load now, and once a second while `isMoving` says that the answer will change by itself. */
export function useLoaded<T>(load: () => Promise<T>, isMoving: (data: T) => boolean): Loaded<T> {
  const [data, setData] = useState<T | null>(null);
  const [hasFailed, setFailed] = useState(false);

  const reload = useCallback(async () => {
    try {
      setData(await load());
      setFailed(false);
    } catch {
      setFailed(true);
    }
  }, [load]);

  useEffect(() => void reload(), [reload]);

  const mayMove = data !== null && isMoving(data);
  useEffect(() => {
    if (!mayMove) return;
    const timer = setInterval(() => void reload(), POLL_MS);
    return () => clearInterval(timer);
  }, [mayMove, reload]);

  return { data, hasFailed, reload };
}

export function Complaint({ children }: { children: ReactNode }) {
  return (
    <p className="complaint" role="alert">
      {children}
    </p>
  );
}

export function Waiting({ hasFailed }: { hasFailed: boolean }) {
  const texts = useTexts();
  return hasFailed ? <Complaint>{texts.failed}</Complaint> : <p className="soft">{texts.loading}</p>;
}
