"use client";
/** The two switches of the settings page, each with what really happens at the moment and why. */

import { useCallback, useEffect, useId, useState } from "react";

import { DeliveryDisclosure } from "./Delivery.js";
import { PreviewDisclosure } from "./Preview.js";
import { KINDS, type Flags, type Kind, type Question, type SettingsApi, type State, type System } from "./settings.js";
import { CONSENT_TEXTS, type ConsentTexts, type Language } from "./texts.js";

export interface SwitchesProps {
  api: SettingsApi;
  language: Language;
  host: string;
  /** Whether browsers report to PostHog themselves: then the text says what PostHog sees of a visitor. */
  isDirect?: boolean;
  /** Called once a change is stored. */
  onChanged: (flags: Flags) => void;
}

const FLAG_OF = { errors: "enable_error_reporting", telemetry: "enable_telemetry" } as const;

export function Switches({ api, language, host, isDirect = false, onChanged }: SwitchesProps) {
  const texts = CONSENT_TEXTS[language];
  const [system, setSystem] = useState<System | null>(null);
  const [states, setStates] = useState<Record<Kind, State> | null>(null);
  const [hasFailed, setFailed] = useState(false);

  const look = useCallback(async () => {
    const [flags, now] = await Promise.all([api.system(), api.states()]);
    setSystem(flags);
    setStates(now);
  }, [api]);

  const attempt = useCallback(async (action: () => Promise<unknown>) => {
    setFailed(false);
    try {
      await action();
    } catch {
      setFailed(true);
    }
  }, []);

  useEffect(() => void attempt(look), [attempt, look]);

  function change(kind: Kind, isOn: boolean) {
    return attempt(async () => {
      const flags = await api.change({ is_setup_completed: true, [FLAG_OF[kind]]: isOn });
      setSystem(flags);
      onChanged(flags);
      await look();
    });
  }

  const complaint = (
    <p className="otel-posthog-complaint" role="alert">
      {hasFailed ? texts.failed : ""}
    </p>
  );
  if (!system || !states) return <>{hasFailed ? complaint : <p>{texts.loading}</p>}</>;
  return (
    <div className="otel-posthog-switches" lang={language}>
      {KINDS.map((kind) => (
        <Switch
          key={kind}
          kind={kind}
          isOn={system[FLAG_OF[kind]]}
          state={states[kind]}
          texts={texts}
          onSwitch={(isOn) => change(kind, isOn)}
        />
      ))}
      {KINDS.map((kind) => {
        const question = system.consent_question?.[kind];
        if (!question) return null;
        const answer = (word: "agree" | "decline") =>
          attempt(async () => {
            await api.answer(kind, word, question.manifest);
            await look();
          });
        return <OpenQuestion key={kind} name={texts.kinds[kind].name} question={question} texts={texts} onAnswer={answer} />;
      })}
      {complaint}
      <p className="otel-posthog-hint">
        {texts.receiver(host, isDirect)} {texts.anonymous} {texts.recording}
      </p>
      <PreviewDisclosure api={api} texts={texts} />
      <DeliveryDisclosure api={api} texts={texts} />
    </div>
  );
}

interface SwitchProps {
  kind: Kind;
  isOn: boolean;
  state: State;
  texts: ConsentTexts;
  onSwitch: (isOn: boolean) => Promise<void>;
}

function Switch({ kind, isOn, state, texts, onSwitch }: SwitchProps) {
  const id = useId();
  const [isSaving, setSaving] = useState(false);
  const why = state.reason === "granted" && !state.has_key ? texts.noKey : texts.reasons[state.reason];

  async function flip() {
    if (isSaving) return;
    setSaving(true);
    await onSwitch(!isOn);
    setSaving(false);
  }

  return (
    <div className="otel-posthog-switch">
      <div className="otel-posthog-switch-row">
        <span id={`${id}-name`} className="otel-posthog-switch-name">
          {texts.kinds[kind].name}
        </span>
        <button
          type="button"
          role="switch"
          aria-checked={isOn}
          aria-busy={isSaving}
          aria-labelledby={`${id}-name`}
          aria-describedby={`${id}-terms ${id}-state`}
          onClick={() => void flip()}
        >
          <span className="otel-posthog-word" aria-hidden="true">
            {isOn ? texts.on : texts.off}
          </span>
          <span className="otel-posthog-track" aria-hidden="true" />
        </button>
      </div>
      <p id={`${id}-terms`}>
        {texts.kinds[kind].sends} {texts.kinds[kind].never}
      </p>
      <p id={`${id}-state`} className="otel-posthog-state" data-kind={kind} role="status">
        <span className={state.is_sending ? "otel-posthog-dot otel-posthog-dot-on" : "otel-posthog-dot"} aria-hidden="true" />
        {`${state.is_sending ? texts.sending : texts.notSending}: ${why}`}
      </p>
    </div>
  );
}

interface OpenQuestionProps {
  name: string;
  question: Question;
  texts: ConsentTexts;
  onAnswer: (answer: "agree" | "decline") => void;
}

function OpenQuestion({ name, question, texts, onAnswer }: OpenQuestionProps) {
  return (
    <section className="otel-posthog-question">
      <h3>
        {name}: {texts.question}
      </h3>
      <p>{texts.questionLead}</p>
      <ul>
        {question.changes.map((change) => (
          <li key={`${change.event} ${change.property} ${change.text}`}>
            <code>{change.property ? `${change.event}.${change.property}` : change.event}</code> {change.text}
          </li>
        ))}
      </ul>
      <div className="otel-posthog-answers">
        <button type="button" className="otel-posthog-answer" onClick={() => onAnswer("agree")}>
          {texts.agree}
        </button>
        <button type="button" className="otel-posthog-answer" onClick={() => onAnswer("decline")}>
          {texts.decline}
        </button>
      </div>
    </section>
  );
}
