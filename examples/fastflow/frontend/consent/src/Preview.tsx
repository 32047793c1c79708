"use client";
/** What would be sent, exactly, fetched when somebody asks for it. */

import { useState } from "react";

import type { Preview, PrintedRequest, SettingsApi } from "./settings.js";
import type { ConsentTexts } from "./texts.js";

const PARTS = ["waiting", "heartbeat", "samples"] as const;

export function PreviewDisclosure({ api, texts }: { api: SettingsApi; texts: ConsentTexts }) {
  const [isOpen, setOpen] = useState(false);
  const [preview, setPreview] = useState<Preview | null>(null);
  const [hasFailed, setFailed] = useState(false);

  async function toggle() {
    setOpen(!isOpen);
    if (isOpen) return;
    setPreview(null);
    setFailed(false);
    try {
      setPreview(await api.preview());
    } catch {
      setFailed(true);
    }
  }

  return (
    <div className="otel-posthog-preview">
      <button type="button" className="otel-posthog-link" aria-expanded={isOpen} onClick={() => void toggle()}>
        {isOpen ? texts.hidePreview : texts.showPreview}
      </button>
      {isOpen && (
        <div aria-live="polite">
          {hasFailed ? <p>{texts.failed}</p> : preview ? <Shown preview={preview} texts={texts} /> : <p>{texts.loading}</p>}
        </div>
      )}
    </div>
  );
}

function Shown({ preview, texts }: { preview: Preview; texts: ConsentTexts }) {
  return (
    <>
      <p>{texts.previewLead}</p>
      {PARTS.map((part) => (
        <section key={part}>
          <h3>{texts.previewParts[part]}</h3>
          <Events requests={preview[part]} nothing={texts.nothing} />
        </section>
      ))}
    </>
  );
}

function Events({ requests, nothing }: { requests: PrintedRequest[]; nothing: string }) {
  const events = requests.flatMap((request) => request.body.batch.map((event) => ({ url: request.url, event })));
  if (events.length === 0) return <p>{nothing}</p>;
  return events.map(({ url, event }, place) => (
    <details key={place}>
      <summary>
        <code>{event.event}</code>
      </summary>
      <pre tabIndex={0}>
        {`POST ${url}\n\n`}
        {JSON.stringify(event, null, 2)}
      </pre>
    </details>
  ));
}
