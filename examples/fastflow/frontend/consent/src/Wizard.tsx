"use client";
/**
 * Asks an administrator, once, what may be sent. Nothing is ticked beforehand, and to close it in any way
 * leaves the question open.
 */

import { useEffect, useId, useRef, useState } from "react";

import { PreviewDisclosure } from "./Preview.js";
import { KINDS, type Flags, type Kind, type SettingsApi } from "./settings.js";
import { CONSENT_TEXTS, type Language } from "./texts.js";

export interface WizardProps {
  api: SettingsApi;
  language: Language;
  product: string;
  /** Name of whoever receives it, such as `eu.posthog.com`. */
  host: string;
  /** Whether browsers report to PostHog themselves: then the text says what PostHog sees of a visitor. */
  isDirect?: boolean;
  /** Called once the answer is stored. */
  onDecided: (flags: Flags) => void;
  /** Called when it is closed without an answer. */
  onLater: () => void;
}

export function Wizard({ api, language, product, host, isDirect = false, onDecided, onLater }: WizardProps) {
  const texts = CONSENT_TEXTS[language];
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  const [chosen, setChosen] = useState<Record<Kind, boolean>>({ errors: false, telemetry: false });
  const [complaint, setComplaint] = useState("");
  const [isSaving, setSaving] = useState(false);

  useEffect(() => {
    const shown = dialog.current;
    if (shown && !shown.open) shown.showModal(); // keeps the focus inside, and gives it back at the end
    return () => shown?.close();
  }, []);

  async function decide(selected: Record<Kind, boolean>) {
    setSaving(true);
    setComplaint("");
    try {
      const answer = { enable_error_reporting: selected.errors, enable_telemetry: selected.telemetry };
      onDecided(await api.change({ is_setup_completed: true, ...answer }));
    } catch {
      setComplaint(texts.failed);
      setSaving(false);
    }
  }

  function send() {
    if (KINDS.some((kind) => chosen[kind])) void decide(chosen);
    else setComplaint(texts.nothingChosen);
  }

  return (
    <dialog
      ref={dialog}
      className="otel-posthog-dialog"
      lang={language}
      aria-labelledby={`${id}-title`}
      aria-describedby={`${id}-lead`}
      onCancel={(event) => {
        event.preventDefault();
        onLater();
      }}
    >
      <h2 id={`${id}-title`} tabIndex={-1} autoFocus>
        {texts.title(product)}
      </h2>
      <p id={`${id}-lead`}>{texts.lead}</p>
      {KINDS.map((kind) => (
        <div className="otel-posthog-choice" key={kind}>
          <input
            type="checkbox"
            id={`${id}-${kind}`}
            aria-describedby={`${id}-${kind}-terms`}
            checked={chosen[kind]}
            disabled={isSaving}
            onChange={(event) => setChosen({ ...chosen, [kind]: event.target.checked })}
          />
          <div>
            <label htmlFor={`${id}-${kind}`}>{texts.kinds[kind].name}</label>
            <p id={`${id}-${kind}-terms`}>
              {texts.kinds[kind].sends} {texts.kinds[kind].never}
            </p>
          </div>
        </div>
      ))}
      <p>
        {texts.receiver(host, isDirect)} {texts.anonymous} {texts.recording}
      </p>
      <p>
        <strong>{texts.refusing}</strong>
      </p>
      <PreviewDisclosure api={api} texts={texts} />
      <p className="otel-posthog-complaint" role="alert">
        {complaint}
      </p>
      <div className="otel-posthog-answers">
        <button type="button" className="otel-posthog-answer" disabled={isSaving} onClick={send}>
          {texts.send}
        </button>
        <button
          type="button"
          className="otel-posthog-answer"
          disabled={isSaving}
          onClick={() => void decide({ errors: false, telemetry: false })}
        >
          {texts.refuse}
        </button>
        <button type="button" className="otel-posthog-later" disabled={isSaving} onClick={onLater}>
          {texts.later}
        </button>
      </div>
      <p className="otel-posthog-hint">{texts.laterHint}</p>
    </dialog>
  );
}
