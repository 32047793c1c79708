/** The settings API of otel_posthog, as a front end sees it. */

export type Kind = "errors" | "telemetry";
export const KINDS: readonly Kind[] = ["errors", "telemetry"];

export interface Flags {
  is_setup_completed: boolean;
  enable_error_reporting: boolean;
  enable_telemetry: boolean;
}

export interface Change {
  effect: "narrowing" | "widening" | "wording";
  event: string;
  property: string | null;
  text: string;
}

export interface Question {
  manifest: string;
  changes: Change[];
}

export interface System extends Flags {
  /** What a newer version would send beyond what was agreed to; there only while it is open. */
  consent_question?: Partial<Record<Kind, Question>>;
}

export type Reason =
  | "undecided"
  | "declined"
  | "env"
  | "store_unreadable"
  | "expired"
  | "not_started"
  | "replaced"
  | "granted";

export interface State {
  is_sending: boolean;
  reason: Reason;
  has_key: boolean;
}

export interface PrintedRequest {
  method: string;
  url: string;
  body: { batch: { event: string; properties: Record<string, unknown> }[] };
}

export interface Preview {
  waiting: PrintedRequest[];
  heartbeat: PrintedRequest[];
  samples: PrintedRequest[];
}

/** What became of the events of one kind; `accepted` is the sum of the others. */
export interface Balance {
  accepted: number;
  sent: number;
  handed_over: number;
  waiting: number;
  dropped: Record<string, number>;
}

/** Sends one request of the product, with its CSRF token or what else it needs, and returns the answer's data. */
export type Call = (method: "GET" | "PUT" | "POST", path: string, body?: unknown) => Promise<unknown>;

export class SettingsApi {
  readonly #call: Call;
  readonly #path: string;

  constructor(call: Call, path = "/api/settings") {
    this.#call = call;
    this.#path = path;
  }

  system(): Promise<System> {
    return this.#call("GET", `${this.#path}/system`) as Promise<System>;
  }

  change(flags: Partial<Flags>): Promise<System> {
    return this.#call("PUT", `${this.#path}/system`, flags) as Promise<System>;
  }

  states(): Promise<Record<Kind, State>> {
    return this.#call("GET", `${this.#path}/consent`) as Promise<Record<Kind, State>>;
  }

  answer(kind: Kind, answer: "agree" | "decline", manifest: string): Promise<unknown> {
    return this.#call("PUT", `${this.#path}/consent`, { [kind]: { answer, manifest } });
  }

  preview(): Promise<Preview> {
    return this.#call("GET", `${this.#path}/telemetry-preview`) as Promise<Preview>;
  }

  delivery(): Promise<Record<Kind, Balance>> {
    return this.#call("GET", `${this.#path}/delivery`) as Promise<Record<Kind, Balance>>;
  }

  async sendTestException(): Promise<boolean> {
    const answer = await this.#call("POST", `${this.#path}/trigger-test-exception`);
    return (answer as { is_reported: boolean }).is_reported;
  }
}
