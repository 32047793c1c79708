import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";

import { ErrorBoundary, TelemetryProvider } from "../src/ErrorBoundary";
import type { TelemetryClient } from "../src/client";
import { SettingsApi, type System } from "../src/settings";
import { Switches } from "../src/Switches";
import { CONSENT_TEXTS, type Language } from "../src/texts";
import { Wizard } from "../src/Wizard";

const OFF: System = { is_setup_completed: false, enable_error_reporting: false, enable_telemetry: false };

/** The settings API of a server that keeps what it is told. */
function server(first: Partial<System> = {}, reason = "undecided") {
  const told: [string, string, unknown][] = [];
  let system: System = { ...OFF, ...first };
  const call = vi.fn(async (method: string, path: string, body?: unknown) => {
    told.push([method, path, body]);
    if (path.endsWith("/consent")) {
      const state = { is_sending: false, reason, has_key: true };
      return { errors: state, telemetry: state };
    }
    if (path.endsWith("/delivery")) {
      const balance = { accepted: 9, sent: 4, handed_over: 0, waiting: 2, dropped: { expired: 2, refused: 1 } };
      return { errors: balance, telemetry: balance };
    }
    if (path.endsWith("/telemetry-preview")) return { waiting: [], heartbeat: [], samples: [] };
    if (method === "PUT") system = { ...system, ...(body as Partial<System>) };
    return system;
  });
  return { api: new SettingsApi(call), call, changes: () => told.filter(([method]) => method === "PUT") };
}

afterEach(cleanup);

describe("Wizard", () => {
  function show(language: Language = "en") {
    const made = server();
    const onDecided = vi.fn();
    const onLater = vi.fn();
    render(
      <Wizard api={made.api} language={language} product="Acme" host="eu.posthog.com" onDecided={onDecided} onLater={onLater} />,
    );
    return { ...made, onDecided, onLater, texts: CONSENT_TEXTS[language] };
  }

  it.each(["en", "de"] as const)("begins with nothing ticked and names the receiver (%s)", (language) => {
    show(language);

    const boxes = screen.getAllByRole("checkbox") as HTMLInputElement[];
    expect(boxes.map((box) => box.checked)).toEqual([false, false]);
    expect(screen.getByRole("dialog").textContent).toContain("eu.posthog.com");
    expect(screen.getByRole("dialog").textContent).toContain("Acme");
  });

  it.each([
    [false, "nothing of the visitor"],
    [true, "sees the visitor’s IP address"],
  ])("says what PostHog sees of a visitor (direct: %s)", (isDirect, told) => {
    const nothing = () => undefined;
    render(
      <Wizard api={server().api} language="en" product="Acme" host="" isDirect={isDirect} onDecided={nothing} onLater={nothing} />,
    );

    expect(screen.getByRole("dialog").textContent).toContain(told);
  });

  it("stores just what was ticked", async () => {
    const { changes, onDecided, texts } = show();

    fireEvent.click(screen.getByLabelText(texts.kinds.telemetry.name));
    fireEvent.click(screen.getByText(texts.send));

    await waitFor(() => expect(onDecided).toHaveBeenCalledOnce());
    const answer = { is_setup_completed: true, enable_error_reporting: false, enable_telemetry: true };
    expect(changes()).toEqual([["PUT", "/api/settings/system", answer]]);
  });

  it("stores a refusal whatever was ticked", async () => {
    const { changes, onDecided, texts } = show();

    fireEvent.click(screen.getByLabelText(texts.kinds.errors.name));
    fireEvent.click(screen.getByText(texts.refuse));

    await waitFor(() => expect(onDecided).toHaveBeenCalledOnce());
    expect(changes()[0]?.[2]).toEqual({ is_setup_completed: true, enable_error_reporting: false, enable_telemetry: false });
  });

  it("explains itself where nothing is ticked, and stores nothing", () => {
    const { changes, texts } = show();

    fireEvent.click(screen.getByText(texts.send));

    expect(screen.getByRole("alert").textContent).toBe(texts.nothingChosen);
    expect(changes()).toEqual([]);
  });

  it("decides nothing when it is closed", () => {
    const { changes, onLater, texts } = show();

    fireEvent.click(screen.getByText(texts.later));
    fireEvent(screen.getByRole("dialog"), new Event("cancel", { cancelable: true }));

    expect(onLater).toHaveBeenCalledTimes(2);
    expect(changes()).toEqual([]);
  });

  it("says so when the answer could not be stored, and can be answered again", async () => {
    const { call, onDecided, texts } = show();
    call.mockRejectedValueOnce(new Error("503"));

    fireEvent.click(screen.getByText(texts.refuse));
    await waitFor(() => expect(screen.getByRole("alert").textContent).toBe(texts.failed));
    fireEvent.click(screen.getByText(texts.refuse));

    await waitFor(() => expect(onDecided).toHaveBeenCalledOnce());
  });
});

describe("Switches", () => {
  const texts = CONSENT_TEXTS.en;

  it("shows position, effect and reason", async () => {
    const { api } = server({ enable_telemetry: true }, "env");
    render(<Switches api={api} language="en" host="" onChanged={() => undefined} />);

    const switches = await screen.findAllByRole("switch");
    expect(switches.map((one) => one.getAttribute("aria-checked"))).toEqual(["false", "true"]);
    expect(screen.getAllByText(`${texts.notSending}: ${texts.reasons.env}`)).toHaveLength(2);
  });

  it("shows what became of the events once somebody asks", async () => {
    const { api, call } = server();
    render(<Switches api={api} language="en" host="" onChanged={() => undefined} />);
    const button = await screen.findByText(texts.showDelivery);
    expect(call).not.toHaveBeenCalledWith("GET", "/api/settings/delivery");

    fireEvent.click(button);

    const row = (await screen.findAllByRole("row"))[1] as HTMLElement;
    const cells = [...row.children].map((cell) => cell.textContent);
    expect(cells).toEqual([texts.kinds.errors.name, "9", "4", "0", "2", "3 (2 expired, 1 refused)"]);
  });

  it("changes one flag and leaves the other alone", async () => {
    const { api, changes } = server();
    const onChanged = vi.fn();
    render(<Switches api={api} language="en" host="" onChanged={onChanged} />);

    fireEvent.click((await screen.findAllByRole("switch"))[0] as HTMLElement);

    await waitFor(() => expect(onChanged).toHaveBeenCalledOnce());
    expect(changes()[0]?.[2]).toEqual({ is_setup_completed: true, enable_error_reporting: true });
  });

  it("does not move when the server refuses", async () => {
    const { api, call } = server();
    render(<Switches api={api} language="en" host="" onChanged={() => undefined} />);
    const [first] = await screen.findAllByRole("switch");
    call.mockRejectedValueOnce(new Error("403"));

    fireEvent.click(first as HTMLElement);

    await waitFor(() => expect(screen.getByRole("alert").textContent).toBe(texts.failed));
    expect(first?.getAttribute("aria-checked")).toBe("false");
  });

  it("asks what a newer version would send besides, and passes the answer on", async () => {
    const change = { effect: "widening", event: "sync_completed", property: "duration_s", text: "new" } as const;
    const { api, changes } = server({ consent_question: { telemetry: { manifest: "abc", changes: [change] } } });
    render(<Switches api={api} language="en" host="" onChanged={() => undefined} />);

    fireEvent.click(await screen.findByText(texts.decline));

    await waitFor(() => expect(changes()).toHaveLength(1));
    expect(changes()[0]).toEqual(["PUT", "/api/settings/consent", { telemetry: { answer: "decline", manifest: "abc" } }]);
  });
});

describe("ErrorBoundary", () => {
  it("reports through the client once, shows the fallback and can try again", () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined); // React tells of each error
    const client = { captureException: vi.fn() };
    let isBroken = true;
    function Fragile() {
      if (isBroken) throw new Error("broken");
      return <p>whole</p>;
    }
    render(
      <TelemetryProvider client={client as unknown as TelemetryClient}>
        <ErrorBoundary fallback={(retry) => <button onClick={retry}>again</button>}>
          <Fragile />
        </ErrorBoundary>
      </TelemetryProvider>,
    );

    isBroken = false;
    fireEvent.click(screen.getByText("again"));

    expect(client.captureException).toHaveBeenCalledOnce();
    expect(screen.getByText("whole")).toBeTruthy();
    vi.restoreAllMocks();
  });
});

describe("CONSENT_TEXTS", () => {
  it("has every text in both languages", () => {
    const keys = (value: object): string[] =>
      Object.entries(value).flatMap(([key, inner]) =>
        typeof inner === "object" ? keys(inner).map((name) => `${key}.${name}`) : [key],
      );

    expect(keys(CONSENT_TEXTS.de)).toEqual(keys(CONSENT_TEXTS.en));
  });
});
