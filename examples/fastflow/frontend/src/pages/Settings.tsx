import { Switches, type Flags, type Language, type SettingsApi, type TelemetryClient } from "otel-posthog-react";
import { useContext, useId, useState } from "react";

import { api, type User } from "../api";
import type { Receiver } from "../App";
import { LanguageContext, useTexts } from "../texts";

const LANGUAGES: Record<Language, string> = { en: "English", de: "Deutsch" };

interface SettingsProps {
  user: User;
  environment: string;
  settings: SettingsApi;
  client: TelemetryClient;
  receiver: Receiver;
  onFlags: (flags: Flags) => void;
  onLanguage: (language: Language) => void;
}

export function Settings({ user, environment, settings, client, receiver, onFlags, onLanguage }: SettingsProps) {
  const texts = useTexts();
  const language = useContext(LanguageContext);
  const isAdmin = user.role === "admin";
  const id = useId();

  return (
    <>
      <div className="head">
        <h1>{texts.settings}</h1>
      </div>
      {isAdmin && (
        <section className="card" aria-labelledby={`${id}-privacy`}>
          <h2 id={`${id}-privacy`}>{texts.privacy}</h2>
          <p className="soft">{texts.privacyLead}</p>
          <Switches api={settings} language={language} {...receiver} onChanged={onFlags} />
        </section>
      )}
      {isAdmin && <People />}
      <section className="card" aria-labelledby={`${id}-language`}>
        <h2 id={`${id}-language`}>{texts.language}</h2>
        <select
          aria-labelledby={`${id}-language`}
          value={language}
          onChange={(event) => onLanguage(event.target.value as Language)}
        >
          {Object.entries(LANGUAGES).map(([value, name]) => (
            <option key={value} value={value} lang={value}>
              {name}
            </option>
          ))}
        </select>
      </section>
      {environment === "development" && <Development settings={settings} client={client} />}
    </>
  );
}

function People() {
  const texts = useTexts();
  const [link, setLink] = useState("");

  async function invite() {
    const { code } = await api.invite();
    setLink(`${location.origin}/?invitation=${code}`);
  }

  return (
    <section className="card" aria-labelledby="people">
      <h2 id="people">{texts.people}</h2>
      <p className="soft">{texts.peopleLead}</p>
      <button type="button" className="button" onClick={() => void invite()}>
        {texts.invite}
      </button>
      <p role="status">{link && <input readOnly aria-label={texts.inviteLink} value={link} onFocus={(event) => event.target.select()} />}</p>
    </section>
  );
}

function Development({ settings, client }: { settings: SettingsApi; client: TelemetryClient }) {
  const texts = useTexts();
  const [told, setTold] = useState("");

  async function send(attempt: () => boolean | Promise<boolean>) {
    try {
      setTold((await attempt()) ? texts.testSent : texts.testNotSent);
    } catch {
      setTold(texts.failed);
    }
  }

  return (
    <section className="card" aria-labelledby="development">
      <h2 id="development">{texts.development}</h2>
      <p className="soft">{texts.developmentLead}</p>
      <div className="row">
        <button type="button" className="button" onClick={() => void send(() => settings.sendTestException())}>
          {texts.testBackend}
        </button>
        <button type="button" className="button" onClick={() => void send(() => client.sendTestException())}>
          {texts.testFrontend}
        </button>
      </div>
      <p role="status">{told}</p>
    </section>
  );
}
