"use client";
/** What became of everything that was accepted, fetched when somebody asks for it. */

import { useState } from "react";

import { KINDS, type Balance, type Kind, type SettingsApi } from "./settings.js";
import type { ConsentTexts } from "./texts.js";

const COLUMNS = ["accepted", "sent", "handed_over", "waiting", "dropped"] as const;

export function DeliveryDisclosure({ api, texts }: { api: SettingsApi; texts: ConsentTexts }) {
  const [isOpen, setOpen] = useState(false);
  const [balances, setBalances] = useState<Record<Kind, Balance> | null>(null);
  const [hasFailed, setFailed] = useState(false);

  async function toggle() {
    setOpen(!isOpen);
    if (isOpen) return;
    setBalances(null);
    setFailed(false);
    try {
      setBalances(await api.delivery());
    } catch {
      setFailed(true);
    }
  }

  return (
    <div className="otel-posthog-delivery">
      <button type="button" className="otel-posthog-link" aria-expanded={isOpen} onClick={() => void toggle()}>
        {isOpen ? texts.hideDelivery : texts.showDelivery}
      </button>
      {isOpen && (
        <div aria-live="polite">
          {hasFailed ? <p>{texts.unread}</p> : balances ? <Shown balances={balances} texts={texts} /> : <p>{texts.loading}</p>}
        </div>
      )}
    </div>
  );
}

function Shown({ balances, texts }: { balances: Record<Kind, Balance>; texts: ConsentTexts }) {
  return (
    <table>
      <caption>{texts.deliveryLead}</caption>
      <thead>
        <tr>
          <td />
          {COLUMNS.map((column) => (
            <th key={column} scope="col">
              {texts.deliveryColumns[column]}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {KINDS.map((kind) => (
          <tr key={kind}>
            <th scope="row">{texts.kinds[kind].name}</th>
            {COLUMNS.map((column) => (
              <td key={column}>{shown(balances[kind][column])}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A number, or the sum of the reasons with each of them. */
function shown(value: number | Record<string, number>): string {
  if (typeof value === "number") return String(value);
  const reasons = Object.entries(value);
  const sum = reasons.reduce((total, [, number]) => total + number, 0);
  return reasons.length === 0 ? "0" : `${sum} (${reasons.map(([reason, number]) => `${number} ${reason}`).join(", ")})`;
}
