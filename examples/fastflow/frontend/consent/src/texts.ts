/** All that the wizard and the switches say, in English and German. */

import type { Kind, Reason } from "./settings.js";

export type Language = "en" | "de";

export interface ConsentTexts {
  title: (product: string) => string;
  lead: string;
  refusing: string;
  anonymous: string;
  receiver: (host: string, isDirect: boolean) => string;
  kinds: Record<Kind, { name: string; sends: string; never: string }>;
  recording: string;
  send: string;
  refuse: string;
  later: string;
  laterHint: string;
  nothingChosen: string;
  failed: string;
  on: string;
  off: string;
  sending: string;
  notSending: string;
  noKey: string;
  reasons: Record<Reason, string>;
  showPreview: string;
  hidePreview: string;
  previewLead: string;
  previewParts: { waiting: string; heartbeat: string; samples: string };
  showDelivery: string;
  hideDelivery: string;
  deliveryLead: string;
  deliveryColumns: Record<"accepted" | "sent" | "handed_over" | "waiting" | "dropped", string>;
  unread: string;
  nothing: string;
  loading: string;
  question: string;
  questionLead: string;
  agree: string;
  decline: string;
}

const en: ConsentTexts = {
  title: (product) => `Help improve ${product}?`,
  lead: "You decide what this installation may send to the people who make it. Both are off until you say otherwise.",
  refusing: "Refusing changes nothing: every function stays the same, and nobody asks again.",
  anonymous:
    "One random number stands for this installation, never for a person. Names, e-mail addresses, host names and IP addresses are no part of a report.",
  receiver: (host, isDirect) =>
    `It goes to PostHog${host ? ` (${host})` : ""}, where the makers of this product read it. ` +
    (isDirect
      ? "Errors of a page are sent there by the visitor’s browser: PostHog then sees the visitor’s IP address, the kind and language of the browser, and the address of this installation."
      : "Errors of a page go there through this server: PostHog sees nothing of the visitor’s browser."),
  kinds: {
    errors: {
      name: "Error reports",
      sends: "What failed and where: type, message and call stack with a few lines of the product’s code, and the page’s path.",
      never: "Never: queries, request bodies, cookies, local variables, who was signed in.",
    },
    telemetry: {
      name: "Usage statistics",
      sends: "That something was used, from a fixed list, and once a day how large the installation is, in numbers and buckets.",
      never: "Never: who did it, names of pipelines or branches, contents.",
    },
  },
  recording: "Sessions are never recorded.",
  send: "Send selected reports",
  refuse: "Don’t send",
  later: "Decide later",
  laterHint: "Nothing is sent meanwhile, and you are asked again at the next visit.",
  nothingChosen: "Nothing is selected. Select what may be sent, or choose “Don’t send”.",
  failed: "That could not be saved, so nothing has changed. Please try again.",
  on: "On",
  off: "Off",
  sending: "Being sent",
  notSending: "Not sent",
  noKey: "this installation has no project key",
  reasons: {
    undecided: "nobody has decided yet",
    declined: "an administrator has declined",
    env: "a variable of the server’s environment switches everything off",
    store_unreadable: "the database does not answer, so nobody knows what was agreed",
    expired: "the day until which this was to be collected has passed",
    not_started: "agreed to, but the part that sends is not running",
    replaced: "agreed to, but another part of the program has taken its place",
    granted: "an administrator has agreed",
  },
  showPreview: "Show exactly what would be sent",
  hidePreview: "Hide it again",
  previewLead: "This comes from the same place that sends, with made-up values where nothing has happened yet. To look at it sends nothing.",
  previewParts: { waiting: "Waiting to be sent", heartbeat: "The daily heartbeat, as of now", samples: "One of each event" },
  showDelivery: "Show what became of the events",
  hideDelivery: "Hide it again",
  deliveryLead: "Every accepted event is in one of the other columns.",
  deliveryColumns: { accepted: "Accepted", sent: "Sent", handed_over: "Handed over", waiting: "Waiting", dropped: "Dropped" },
  unread: "That could not be read. Please try again.",
  nothing: "Nothing.",
  loading: "One moment …",
  question: "This version would send more",
  questionLead: "Until you agree, only what was agreed to before is sent.",
  agree: "Agree to the additions",
  decline: "Leave it as it is",
};

const de: ConsentTexts = {
  title: (product) => `${product} verbessern helfen?`,
  lead: "Sie entscheiden, was diese Installation an die Hersteller senden darf. Beides ist aus, bis Sie etwas anderes sagen.",
  refusing: "Ablehnen ändert nichts: Alle Funktionen bleiben gleich, und niemand fragt noch einmal.",
  anonymous:
    "Eine Zufallszahl steht für diese Installation, nie für eine Person. Namen, E-Mail-Adressen, Rechnernamen und IP-Adressen gehören nicht zu einem Bericht.",
  receiver: (host, isDirect) =>
    `Empfänger ist PostHog${host ? ` (${host})` : ""}; dort lesen es die Hersteller dieses Produkts. ` +
    (isDirect
      ? "Fehler einer Seite sendet der Browser des Besuchers selbst dorthin: PostHog sieht dabei dessen IP-Adresse, Art und Sprache des Browsers und die Adresse dieser Installation."
      : "Fehler einer Seite gehen über diesen Server dorthin: PostHog sieht nichts vom Browser des Besuchers."),
  kinds: {
    errors: {
      name: "Fehlerberichte",
      sends: "Was wo fehlgeschlagen ist: Art, Meldung und Aufrufliste mit einigen Zeilen des Produktcodes, dazu der Pfad der Seite.",
      never: "Nie: Suchparameter, Inhalte von Anfragen, Cookies, lokale Variablen, wer angemeldet war.",
    },
    telemetry: {
      name: "Nutzungsstatistik",
      sends: "Dass etwas benutzt wurde, aus einer festen Liste, und einmal am Tag, wie groß die Installation ist, in Zahlen und Bereichen.",
      never: "Nie: wer es war, Namen von Pipelines oder Branches, Inhalte.",
    },
  },
  recording: "Sitzungen werden nie aufgezeichnet.",
  send: "Ausgewähltes senden",
  refuse: "Nicht senden",
  later: "Später entscheiden",
  laterHint: "Bis dahin wird nichts gesendet; beim nächsten Besuch wird wieder gefragt.",
  nothingChosen: "Es ist nichts ausgewählt. Wählen Sie, was gesendet werden darf, oder „Nicht senden“.",
  failed: "Das ließ sich nicht speichern, es hat sich nichts geändert. Bitte noch einmal versuchen.",
  on: "An",
  off: "Aus",
  sending: "Wird gesendet",
  notSending: "Wird nicht gesendet",
  noKey: "diese Installation hat keinen Projektschlüssel",
  reasons: {
    undecided: "noch hat niemand entschieden",
    declined: "abgelehnt von der Administration",
    env: "eine Umgebungsvariable des Servers schaltet alles ab",
    store_unreadable: "die Datenbank antwortet nicht, die Zustimmung ist daher unbekannt",
    expired: "der Tag, bis zu dem dies erhoben werden sollte, ist vorbei",
    not_started: "zugestimmt, aber der Teil, der sendet, läuft nicht",
    replaced: "zugestimmt, aber ein anderer Teil des Programms ist an seine Stelle getreten",
    granted: "die Administration hat zugestimmt",
  },
  showPreview: "Genau zeigen, was gesendet würde",
  hidePreview: "Wieder ausblenden",
  previewLead: "Das kommt von derselben Stelle, die auch sendet, mit erfundenen Werten, wo noch nichts geschehen ist. Ansehen sendet nichts.",
  previewParts: { waiting: "Wartet auf den Versand", heartbeat: "Die tägliche Meldung, Stand jetzt", samples: "Je ein Beispiel" },
  showDelivery: "Zeigen, was aus den Ereignissen wurde",
  hideDelivery: "Wieder ausblenden",
  deliveryLead: "Jedes angenommene Ereignis steht in einer der anderen Spalten.",
  deliveryColumns: { accepted: "Angenommen", sent: "Gesendet", handed_over: "Übergeben", waiting: "Wartend", dropped: "Verworfen" },
  unread: "Das ließ sich nicht lesen. Bitte noch einmal versuchen.",
  nothing: "Nichts.",
  loading: "Einen Moment …",
  question: "Diese Version würde mehr senden",
  questionLead: "Bis Sie zustimmen, wird nur gesendet, was bisher vereinbart war.",
  agree: "Den Ergänzungen zustimmen",
  decline: "So lassen, wie es ist",
};

export const CONSENT_TEXTS: Record<Language, ConsentTexts> = { en, de };
