import { useId, useState } from "react";

import { api, type Session } from "../api";
import { Complaint } from "../loading";
import { useTexts } from "../texts";

const PROVIDERS = ["github", "google"] as const;

export function SignIn({ onEntered }: { onEntered: (session: Session) => void }) {
  const texts = useTexts();
  const id = useId();
  const [name, setName] = useState("");
  const [complaint, setComplaint] = useState("");
  const invitation = new URLSearchParams(location.search).get("invitation");

  async function enter(provider: (typeof PROVIDERS)[number]) {
    if (!name.trim()) return setComplaint(texts.nameMissing);
    try {
      const session = await api.signIn(provider, name, invitation);
      history.replaceState(null, "", "/"); // the code has been used
      onEntered(session);
    } catch {
      setComplaint(texts.signInFailed);
    }
  }

  return (
    <main className="entrance" id="content">
      <h1>Fast-Flow</h1>
      <p className="lead">{texts.tagline}</p>
      <form
        className="card"
        onSubmit={(event) => {
          event.preventDefault();
          void enter("github");
        }}
      >
        <h2>{texts.signIn}</h2>
        <p className="soft">{invitation ? texts.invited : texts.signInLead}</p>
        <label htmlFor={id}>{texts.name}</label>
        <input id={id} value={name} maxLength={100} autoComplete="username" onChange={(event) => setName(event.target.value)} />
        <Complaint>{complaint}</Complaint>
        <div className="row">
          {PROVIDERS.map((provider) => (
            <button key={provider} type="button" className="button" onClick={() => void enter(provider)}>
              {texts.signInWith[provider]}
            </button>
          ))}
        </div>
      </form>
    </main>
  );
}
