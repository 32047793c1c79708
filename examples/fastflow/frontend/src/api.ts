/** Fast-Flow's own endpoints. */

import type { Call, Language } from "otel-posthog-react";

export interface User {
  name: string;
  role: "admin" | "user";
  language: Language | null;
}

export interface Session {
  user: User | null;
  csrf_token: string | null;
  environment: string;
}

export type Status = "waiting" | "running" | "succeeded" | "failed" | "timed_out" | "cancelled";

export interface Run {
  id: number;
  pipeline: string;
  triggered_by: "manual" | "scheduler" | "webhook";
  status: Status;
  created_at: number;
  started_at: number | null;
  finished_at: number | null;
  progress: number | null;
}

export interface Pipeline {
  name: string;
  has_requirements: boolean;
  every_minutes: number | null;
  latest_run: Run | null;
}

export class ApiError extends Error {
  override name = "ApiError";

  constructor(readonly status: number) {
    super(`The server answered ${status}`); // the path could name things that stay here
  }
}

/** The token that proves to the server that a page of its own is asking; the cookie alone does not. */
let csrfToken: string | null = null;

export const csrfHeaders = (): Record<string, string> => (csrfToken === null ? {} : { "X-CSRF-Token": csrfToken });

export async function call(method: string, path: string, body?: unknown): Promise<unknown> {
  const answer = await fetch(path, {
    method,
    headers: {
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...csrfHeaders(),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new ApiError(answer.status);
  return answer.status === 204 ? null : answer.json();
}

export const settingsCall: Call = call;

async function entered(answer: Promise<unknown>): Promise<Session> {
  const session = (await answer) as Session;
  csrfToken = session.csrf_token;
  return session;
}

export const api = {
  session: () => entered(call("GET", "/api/session")),
  signIn: (provider: "github" | "google", name: string, invitation: string | null) =>
    entered(call("POST", "/api/session", { provider, name, invitation })),
  signOut: () => call("DELETE", "/api/session"),
  useLanguage: (language: Language) => call("PUT", "/api/session/language", { language }),
  pipelines: () => call("GET", "/api/pipelines") as Promise<Pipeline[]>,
  runs: () => call("GET", "/api/runs") as Promise<Run[]>,
  run: (id: string) => call("GET", `/api/runs/${encodeURIComponent(id)}`) as Promise<Run & { log: string }>,
  start: (pipeline: string) => call("POST", "/api/runs", { pipeline }) as Promise<{ id: number }>,
  cancel: (id: number) => call("POST", `/api/runs/${id}/cancel`),
  schedule: (pipeline: string, everyMinutes: number | null) =>
    call("PUT", "/api/schedules", { pipeline, every_minutes: everyMinutes }),
  sync: () => call("POST", "/api/sync") as Promise<{ pipelines: number }>,
  invite: () => call("POST", "/api/invitations") as Promise<{ code: string }>,
};
