"""Tokens that are known by their look: the public formats of vendors, and hashes of passwords.

Gathered from the vendors' documentation and from what gitleaks, trufflehog, detect-secrets and GitHub's
secret scanning look for. Lengths are lower bounds on purpose: a cut or padded token is still a secret.
"""

from __future__ import annotations

import re

_BODY = r"[A-Za-z0-9_-]"
_TAIL = rf"{_BODY}{{12,}}+(?:\.{_BODY}{{6,}}+){{0,4}}"
_HEX = r"[A-Fa-f0-9]"
_UUID = rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"

# So telling that nothing has to stand before them: they are found right behind a letter, too.
_DISTINCT_PREFIXES = (
    # code hosting and registries
    r"gh[pousr]_|github_pat_|gl(?:pat|dt|ft|soat|rt|cbt|ptt|agent|imt|ffct|oas)-|GR1348941|"
    r"ATBB|BBDC-|pypi-A|rubygems_|dckr_[po]at_|CCIPAT_|CCIPRJ_|bkua_|CLOJARS_|"
    # clouds and hosting
    r"do[opr]_v1_|dapi(?=[a-f0-9]{20})|HRKU-|pscale_(?:tkn|oauth|pw)_|pul-(?=[a-f0-9]{12})|"
    r"tskey-|dnkey-|dt0[cs]\d{2}\.|AGE-SECRET-KEY-1|"
    # artificial intelligence
    r"sk-(?:ant|proj|svcacct|admin|or|lf|live|test|None)-|pplx-|xai-|r8_|lsv2_[a-z]{2}_|pcsk_|api_org_|"
    # chat, mail, monitoring
    r"xox[abeoprs](?:\.xox[bp])?-|xapp-|SG\.(?=[A-Za-z0-9_-]{8,80}\.)|xkeysib-|xsmtpsib-|sntry[ua]_|"
    r"NR(?:AK|JS|AA|II|RA|AL)-|PMAK-|"
    r"lin_(?:api|oauth)_|figd_|ntn_|tfp_|rdme_|CFPAT-|FLW(?:PUBK|SECK)|phc_|phx_|phs_|phr_|"
    # money and shops
    r"[srp]k_(?:test|live|prod|sbox)_|whsec_|shp(?:at|ca|pa|ss|tka)_|sq0[a-z]{3}-|rzp_(?:test|live)_|"
    r"shippo_(?:test|live)_|"
    r"duffel_(?:test|live)_|access-(?:sandbox|development|production)-|pdl_(?:live|sdbx)_|"
    # identity
    r"GOCSPX-|ya29\.|AIza|ops_eyJ|sha256~|eyJrIjoi|gAAAAA|amzn\.mws\.|fio-u-|"
    r"sm_(?:aat|pat|sat)_|dvc_(?:server|client)_"
)
# These also begin ordinary names, so what follows has to be one run of letters and digits, some of each.
_COMMON_PREFIXES = (
    r"npm_|hf_|[srp]k[_-]|pat-[a-z]{2}\d-|sl\.|pn[ub]_|sq[pua]_|napi_|fw_|key-|pubkey-|API-|PAT-|"
    r"tk-us-|c[ks]_|"
    r"live_|test_|secret_|tok_|vercel_|waka_|gls_|sgp_|sbp_|gsk_|nfp_|hv[sbr]\.|y0_|AQVN|IGQV|"
    r"ATTA|AKCp|"
    r"cmVmdGtu|oy2|SCW|ABSK|EZ[AT]K|re_|rdg_|trigger_|fo1_|ico-|essu_|mfp_|dd[pa]_|u\d-|nsec1|"
    r"[xyz]prv|p8e-|lob_"
)
_RUN = rf"(?=[A-Za-z]{{0,40}}+\d)[A-Za-z0-9]{{12,}}+{_BODY}*+"

_EXACT = (
    r"(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA|A3T[A-Z0-9])[A-Z0-9]{14,}+",
    r"(?:IQoJb3JpZ2lu|FwoGZXIvYXdz|FQoGZXIvYXdz)[A-Za-z0-9+/=]{16,}+",  # AWS session tokens
    r"re_(?=[A-Za-z]{0,12}\d)[A-Za-z0-9]{6,}+_[A-Za-z0-9]{12,}+",  # Resend
    r"(?:pi|seti|cs|src)_[A-Za-z0-9]{14,}+_secret_[A-Za-z0-9]{8,}+",  # Stripe
    r"glsa_[A-Za-z0-9]{20,}+_[a-f0-9]{8}",  # Grafana
    r"(?:pat|sat)\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9]{16,}+\.[A-Za-z0-9]{12,}+",  # Harness
    rf"(?:pat-[a-z]{{2}}\d|waka|pat|sat|tok|key)[-_]{_UUID}",  # HubSpot, WakaTime
    r"mlsn\.[a-f0-9]{30,}+",  # MailerSend
    r"oauth:[a-z0-9]{30}(?![a-z0-9])",  # Twitch
    r"[a-f0-9]{30,40}NRAL",  # New Relic
    r"EAA[A-Za-z0-9]{24,}+[A-Za-z0-9_-]*+",  # Facebook, Square
    r"1//0[A-Za-z0-9_-]{20,}+",  # Google refresh token
    r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{28,}+",  # Microsoft Entra client secret
    r"[A-Za-z0-9_-]{22,40}:APA91b[A-Za-z0-9_-]{60,}+",  # Firebase
    r"(?:bot)?\d{6,12}:A[A-Za-z0-9_-]{30,}+",  # Telegram
    r"[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{5,7}\.[A-Za-z0-9_-]{26,}+",  # Discord
    r"A3-[A-Z0-9]{6}(?:-[A-Z0-9]{5,11}){4,6}",  # 1Password
    r"(?:AC|SK)[a-f0-9]{32}(?::[A-Za-z0-9]{32})?(?![A-Za-z0-9])",  # Twilio
    r"[a-f0-9]{32}-us\d{1,2}(?![A-Za-z0-9])",  # Mailchimp
    r"[a-f0-9]{32}-[a-f0-9]{8}-[a-f0-9]{8}(?![A-Za-z0-9-])",  # Mailgun
    r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{30,}+",  # Terraform Cloud
    r"pat[A-Za-z0-9]{14}\.[a-f0-9]{40,}+",  # Airtable
    r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{16,}+",  # Doppler
    r"[pk]\.eyJ[A-Za-z0-9_.-]{20,}+",  # Mapbox, Tinybird
    rf"(?:api|sdk|mob)-{_UUID}",  # LaunchDarkly
    r"access_token\$(?:production|sandbox)\$[a-z0-9]{10,}\$[a-f0-9]{20,}+",  # PayPal
    r"v1\.0-[a-f0-9]{24}-[a-f0-9]{60,}+",  # Cloudflare origin CA
    r"1000\.[a-f0-9]{32}\.[a-f0-9]{32}",  # Zoho
    r"00D[A-Za-z0-9]{12,15}![A-Za-z0-9._]{40,}+",  # Salesforce
    r"v[1-4]\.(?:local|public)\.[A-Za-z0-9_-]{16,}+(?:\.[A-Za-z0-9_-]++)?",  # PASETO
    r"[5KL][1-9A-HJ-NP-Za-km-z]{50,51}(?![A-Za-z0-9])",  # Bitcoin, wallet import format
    r"s-s4t2(?:ud|af)-[a-f0-9]{40,}+",
    r"hf_[A-Za-z]{30,}+",
    r"(?:npm|vercel|sbp|gsk|nfp|napi|sgp)_(?=[a-z]{0,40}+[A-Z])[A-Za-z]{22,}+(?![\w-])",  # without a digit
    r"LTAI[A-Za-z0-9]{12,}+",  # Alibaba
    r"cio(?=[A-Za-z]{0,31}\d)[A-Za-z0-9]{32}(?![A-Za-z0-9])",  # crates.io
    r"s\.(?=[A-Za-z]{0,22}\d|[a-z]{0,20}[A-Z]{1,20}[a-z]{1,20}[A-Z])[A-Za-z0-9]{24}(?![A-Za-z0-9])",  # Vault
    r"django-insecure-[^\s\"']{20,}+",
    r"AKID[A-Za-z0-9]{20,}+",  # Tencent
    r"AQE[A-Za-z0-9+/]{40,}+={0,2}",  # Adyen
    r"(?<=hooks\.slack\.com/)(?:services|workflows|triggers)/[A-Za-z0-9/_-]++",
    r"(?<=discord\.com/)api/webhooks/\d++/[A-Za-z0-9_-]++",
    r"(?<=discordapp\.com/)api/webhooks/\d++/[A-Za-z0-9_-]++",
    r"(?<=webhook\.office\.com/)[A-Za-z0-9/@_-]++",
    r"ssh-(?:rsa|ed25519|dss) AAAA[A-Za-z0-9+/]{20,}+={0,3}(?: [^\s\"']{1,100})?",
    r"ecdsa-sha2-nistp\d{3} AAAA[A-Za-z0-9+/]{20,}+={0,3}(?: [^\s\"']{1,100})?",
)

# Of Twitter. It holds `%`, so it goes before percent-encoding is undone.
ENCODED_TOKEN = re.compile(r"(?<![A-Za-z0-9])A{21}[A-Za-z0-9%+/=]{20,}+")

_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtfv])|(?<=\x1b\[\dm)|(?<=\x1b\[\d\dm))"

# Made of base64 with its signs.
_WIDE = (
    r"tfp_[A-Za-z0-9_.-]{30,}+|"
    r"(?:AT[AC]TT3|fm1[ar]_|fm2_|glc_|sntrys_)[A-Za-z0-9_+/=-]{16,}+"
)

VENDOR_TOKEN = re.compile(
    rf"{_WIDE}|(?:{_DISTINCT_PREFIXES})(?:-|_)?{_TAIL}"
    rf"|{_START}(?:(?:{_COMMON_PREFIXES}){_RUN}|{'|'.join(_EXACT)})"
)

_SALT = r"[A-Za-z0-9./+=$_-]"
_SALTED = r"[A-Za-z0-9./+=$,_-]"  # with named numbers
PASSWORD_HASH = re.compile(
    rf"\$(?:2[abxy]?\$\d\d|argon2(?:id|i|d)|pbkdf2-sha\d{{1,3}}|scrypt|1|5|6|y|7|apr1|md5|"
    rf"sha1)\${_SALTED}{{20,}}+"
    rf"|(?<![A-Za-z0-9])(?:pbkdf2_sha\d{{1,3}}|bcrypt_sha256|scrypt|md5|sha1)\$+{_SALT}{{20,}}+"
    rf"|(?<![A-Za-z0-9])argon2\$+{_SALTED}{{20,}}+"
    rf"|(?<![A-Za-z0-9])(?:scrypt|pbkdf2):[a-z0-9:]{{1,40}}\${_SALT}{{20,}}+"
    r"|\{(?:SSHA|SSHA256|SSHA512|SHA|SMD5|CRYPT|PBKDF2)\}[A-Za-z0-9./+=$]{16,}+"
    r"|(?<![\w*])\*[0-9A-F]{40}(?![0-9A-F])"
    r"|(?<![A-Fa-f0-9])[A-Fa-f0-9]{32}:[A-Fa-f0-9]{32}(?![A-Fa-f0-9])"
)
