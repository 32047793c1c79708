import { ErrorBoundary, SettingsApi, Wizard, type Flags, type Language, type TelemetryClient } from "otel-posthog-react";
import { useEffect, useMemo, useState, type ReactNode } from "react";
import { NavLink, Navigate, Route, Routes, useLocation } from "react-router-dom";

import { api, settingsCall, type Session, type User } from "./api";
import { Pipelines } from "./pages/Pipelines";
import { RunPage } from "./pages/RunPage";
import { Runs } from "./pages/Runs";
import { Settings } from "./pages/Settings";
import { SignIn } from "./pages/SignIn";
import { LanguageContext, browserLanguage, useTexts } from "./texts";

export function App({ client }: { client: TelemetryClient }) {
  const [session, setSession] = useState<Session | null>(null);
  const language = session?.user?.language ?? browserLanguage();

  useEffect(() => void api.session().then(setSession), []);
  useEffect(() => void (document.documentElement.lang = language), [language]);

  function choose(chosen: Language) {
    if (!session?.user) return;
    setSession({ ...session, user: { ...session.user, language: chosen } });
    void api.useLanguage(chosen);
  }

  if (!session) return null;
  return (
    <LanguageContext value={language}>
      {session.user ? (
        <Inside
          user={session.user}
          environment={session.environment}
          client={client}
          onLanguage={choose}
          onLeft={() => {
            client.stop();
            setSession({ ...session, user: null, csrf_token: null });
          }}
        />
      ) : (
        <SignIn onEntered={setSession} />
      )}
    </LanguageContext>
  );
}

/** Who gets reports, and whether from the browser itself. */
export interface Receiver {
  host: string;
  isDirect: boolean;
}

interface InsideProps {
  user: User;
  client: TelemetryClient;
  environment: string;
  onLanguage: (language: Language) => void;
  onLeft: () => void;
}

function Inside({ user, environment, client, onLanguage, onLeft }: InsideProps) {
  const [receiver, setReceiver] = useState<Receiver>({ host: "", isDirect: false });
  const settings = useMemo(() => new SettingsApi(settingsCall), []);
  const texts = useTexts();
  const { pathname } = useLocation();
  const page = pathname === "/settings" ? texts.settings : pathname.startsWith("/runs") ? texts.runs : texts.pipelines;

  // Only for people who are signed in.
  useEffect(() => {
    void client.start().then(() => setReceiver({ host: client.receiver, isDirect: client.isDirect }));
  }, [client]);
  useEffect(() => void (document.title = `${page} – Fast-Flow`), [page]);

  return (
    <Frame user={user} onLeft={onLeft}>
      <ErrorBoundary key={pathname} fallback={(retry) => <Broken onRetry={retry} />}>
        <Routes>
          <Route path="/" element={<Pipelines user={user} />} />
          <Route path="/runs" element={<Runs />} />
          <Route path="/runs/:id" element={<RunPage />} />
          <Route
            path="/settings"
            element={
              <Settings
                user={user}
                environment={environment}
                settings={settings}
                client={client}
                receiver={receiver}
                onFlags={(flags) => follow(flags, client)}
                onLanguage={onLanguage}
              />
            }
          />
          <Route path="*" element={<Navigate to="/" replace />} />
        </Routes>
      </ErrorBoundary>
      {user.role === "admin" && <FirstRun settings={settings} client={client} receiver={receiver} />}
    </Frame>
  );
}

interface FirstRunProps {
  settings: SettingsApi;
  client: TelemetryClient;
  receiver: Receiver;
}

/** Shows the wizard while nobody has answered it. */
function FirstRun({ settings, client, receiver }: FirstRunProps) {
  const [isOpen, setOpen] = useState(false);

  useEffect(() => {
    settings.system().then(
      (system) => setOpen(!system.is_setup_completed),
      () => undefined, // the database does not answer: ask another time
    );
  }, [settings]);

  if (!isOpen) return null;
  return (
    <LanguageContext.Consumer>
      {(language) => (
        <Wizard
          api={settings}
          language={language}
          product="Fast-Flow"
          {...receiver}
          onDecided={(flags) => {
            setOpen(false);
            follow(flags, client);
          }}
          onLater={() => setOpen(false)}
        />
      )}
    </LanguageContext.Consumer>
  );
}

/**
 * Stop at once where reports are off. Where direct ones have been switched on, load the page again: its security
 * policy is from before, and would not let them out.
 */
function follow(flags: Flags, client: TelemetryClient) {
  if (!flags.enable_error_reporting) client.stop();
  else if (client.isDirect && !client.isOn) location.reload();
  else void client.start();
}

function Frame({ user, onLeft, children }: { user: User; onLeft: () => void; children: ReactNode }) {
  const texts = useTexts();

  return (
    <>
      <a className="skip" href="#content">
        {texts.skip}
      </a>
      <header className="bar">
        <div className="frame">
          <span className="brand">Fast-Flow</span>
          <nav aria-label={texts.navigation}>
            <NavLink to="/" end>
              {texts.pipelines}
            </NavLink>
            <NavLink to="/runs">{texts.runs}</NavLink>
            <NavLink to="/settings">{texts.settings}</NavLink>
          </nav>
          <span className="who">
            <span title={texts.roles[user.role]}>{user.name}</span>
            <button type="button" className="link" onClick={() => void api.signOut().then(onLeft)}>
              {texts.signOut}
            </button>
          </span>
        </div>
      </header>
      <main className="frame" id="content" tabIndex={-1}>
        {children}
      </main>
    </>
  );
}

function Broken({ onRetry }: { onRetry: () => void }) {
  const texts = useTexts();
  return (
    <section className="empty" role="alert">
      <h1>{texts.broken}</h1>
      <p>{texts.brokenLead}</p>
      <button type="button" className="button primary" onClick={onRetry}>
        {texts.again}
      </button>
    </section>
  );
}
