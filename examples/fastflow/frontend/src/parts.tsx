/** Small parts that several pages show. */

import type { Run } from "./api";
import { useTexts } from "./texts";

export const isUnderWay = (run: Run): boolean => run.status === "waiting" || run.status === "running";

export function StatusBadge({ run }: { run: Run }) {
  const texts = useTexts();
  return <span className={`badge badge-${run.status}`}>{texts.statuses[run.status]}</span>;
}

export function ProgressBar({ run }: { run: Run }) {
  const texts = useTexts();
  if (!isUnderWay(run)) return null;
  const known = run.progress === null ? {} : { value: run.progress };
  return <progress aria-label={`${texts.progress}: ${run.pipeline}`} max={100} {...known} />;
}

export function Took({ run }: { run: Run }) {
  const texts = useTexts();
  if (run.started_at === null || run.finished_at === null) return <>–</>;
  return <>{texts.seconds(run.finished_at - run.started_at)}</>;
}
