import { describe, expect, it } from "vitest";

import { MAX_TEXT_CHARS, scrub, scrubUrl } from "../src/scrub";

const HOST = "flow.acme.example:8443";

describe("scrub", () => {
  it.each([
    ["GET https://flow.acme.example:8443/runs?coupon=4711 failed", "GET https://host.invalid/runs failed"],
    ["at flow.acme.example", "at host.invalid"],
    ["see /login?next=%2Fadmin", "see /login[scrubbed:query]"],
    ["https://ada:geheim@example.org/x", "https://example.org/x"],
    ["no account for ada.l@example.org", "no account for [scrubbed:email]"],
    ['{"password": "correct horse"}', '{"password": [scrubbed:value]}'],
    ["api_key=abc123; next", "api_key=[scrubbed:value]; next"],
    ["Authorization: Bearer abc.def", "Authorization: [scrubbed:value]"],
    ["from 192.168.7.9", "from [scrubbed:ip]"],
    ["id 7f3k2m9x8c7v6b5n4m3l2k1j", "id [scrubbed:random]"],
    [
      "Kunde, Tel. 0171 5550123, AKIAJ4EXAMPLE7QK2LMN, IBAN DE89 3704 0044 0532 0130 00, 2a02:8071:1::5",
      "Kunde, Tel. [scrubbed:phone], [scrubbed:vendor-token], IBAN [scrubbed:iban], [scrubbed:ip]",
    ],
    ["card 4111 1111 1111 1111", "card [scrubbed:card]"],
    ["/home/jane/x and C:\\Users\\jane\\x", "/home/[scrubbed:user]/x and C:\\Users\\[scrubbed:user]\\x"],
    ["dbPassword2: geheim", "dbPassword2: [scrubbed:value]"],
    ["-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "[scrubbed:pem]"],
    ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "[scrubbed:jwt]"],
  ])("makes of %j %j", (text, scrubbed) => {
    expect(scrub(text, HOST)).toBe(scrubbed);
  });

  it.each([
    ["Cannot read properties of undefined (reading 'map')"],
    ["t.runs.some is not a function"],
    ["Unexpected token '<' in JSON at position 0"],
    ["The server answered 500"],
    ["max_tokens: 4096"],
    ["Failed to fetch dynamically imported module: https://host.invalid/assets/RunPage-BfT3k2_x.js"],
  ])("leaves %j as it is", (text) => {
    expect(scrub(text, HOST)).toBe(text);
  });

  it("bounds the text", () => {
    expect(scrub("x ".repeat(MAX_TEXT_CHARS), HOST).length).toBe(MAX_TEXT_CHARS);
  });

  it("stays fast on hostile texts", () => {
    for (const unit of ["a@", "?", "token", "1.", "://", "eyJ", "bearer ", "a/", "-----BEGIN ", "|a|b", "name='", "::1", " 1"]) {
      const started = performance.now();
      scrub(unit.repeat(1_000_000), HOST);
      expect(performance.now() - started).toBeLessThan(5_000);
    }
  });
});

describe("scrubUrl", () => {
  it.each([
    ["https://flow.acme.example:8443/runs/7?x=1#y", "http://host.invalid/runs/7"],
    ["/assets/index.js", "http://host.invalid/assets/index.js"],
    ["http://", "http://host.invalid/"],
    ["", "http://host.invalid/"],
  ])("makes of %j %j", (url, scrubbed) => {
    expect(scrubUrl(url, HOST)).toBe(scrubbed);
  });
});
