"""Kinds of secrets: each function returns a text as it may turn up, and what of it must not leave."""

from __future__ import annotations

import base64
import json
import string
from urllib.parse import quote

from corpus.making import ALNUM, BASE64URL, HEX, LOWER, Maker

BASE64 = ALNUM + "+/"
BASE32 = string.ascii_uppercase + "234567"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
UPPER = string.ascii_uppercase + string.digits

# Built from parts here, so that no scanner of a hosting site takes this file for a leak.
TOKENS = {
    "github": lambda m: "gh" + m.one("pousr") + "_" + m.of(ALNUM, 36),
    "github-fine": lambda m: "github" + "_pat_" + m.of(ALNUM, 22) + "_" + m.of(ALNUM, 59),
    "gitlab": lambda m: "gl" + "pat-" + m.of(BASE64URL, 20),
    "slack": lambda m: (
        "xo" + "xb-" + m.of(string.digits, 12) + "-" + m.of(string.digits, 12) + "-" + m.of(ALNUM, 24)
    ),
    "slack-hook": lambda m: (
        "https://hooks.slack.com/services/T" + m.of(UPPER, 8) + "/B" + m.of(UPPER, 8) + "/" + m.of(ALNUM, 24)
    ),
    "stripe": lambda m: m.one(["sk", "rk"]) + "_" + m.one(["live", "test"]) + "_" + m.of(ALNUM, 24),
    "aws-id": lambda m: m.one(["AK", "AS"]) + "IA" + m.of(UPPER, 16),
    "google-api": lambda m: "AI" + "za" + m.of(BASE64URL, 35),
    "google-oauth": lambda m: "ya" + "29." + m.of(BASE64URL, 60),
    "google-client": lambda m: "GOC" + "SPX-" + m.of(BASE64URL, 28),
    "openai": lambda m: "sk" + "-proj-" + m.of(BASE64URL, 48),
    "anthropic": lambda m: "sk" + "-ant-api03-" + m.of(BASE64URL, 60),
    "huggingface": lambda m: "h" + "f_" + m.of(ALNUM, 34),
    "npm": lambda m: "np" + "m_" + m.of(ALNUM, 36),
    "pypi": lambda m: "py" + "pi-AgEI" + m.of(BASE64URL, 60),
    "sendgrid": lambda m: "S" + "G." + m.of(BASE64URL, 22) + "." + m.of(BASE64URL, 43),
    "digitalocean": lambda m: "do" + "p_v1_" + m.of(HEX, 64),
    "shopify": lambda m: "shp" + "at_" + m.of(HEX, 32),
    "twilio": lambda m: "S" + "K" + m.of(HEX, 32),
    "telegram": lambda m: m.of("123456789", 9) + ":A" + "A" + m.of(BASE64URL, 33),
    "discord": lambda m: "M" + m.of(ALNUM, 23) + "." + m.of(ALNUM, 6) + "." + m.of(BASE64URL, 27),
    "mailgun": lambda m: "ke" + "y-" + m.of(HEX, 32),
    "mailchimp": lambda m: m.of(HEX, 32) + "-us" + str(m.number(1, 20)),
    "azure-client": lambda m: m.of(ALNUM, 3) + "8" + "Q~" + m.of(ALNUM, 34),
    "vault": lambda m: "hv" + "s." + m.of(ALNUM, 24),
    "databricks": lambda m: "da" + "pi" + m.of(HEX, 32),
    "grafana": lambda m: "gl" + "sa_" + m.of(ALNUM, 32) + "_" + m.of(HEX, 8),
    "newrelic": lambda m: "NR" + "AK-" + m.of(UPPER, 27),
    "sentry": lambda m: "sn" + "trys_" + m.of(ALNUM, 60),
    "posthog": lambda m: "ph" + m.one("xs") + "_" + m.of(ALNUM, 43),
    "linear": lambda m: "li" + "n_api_" + m.of(ALNUM, 40),
    "docker": lambda m: "dc" + "kr_pat_" + m.of(BASE64URL, 27),
    "doppler": lambda m: "d" + "p.pt." + m.of(ALNUM, 43),
    "terraform": lambda m: m.of(ALNUM, 14) + ".atl" + "asv1." + m.of(ALNUM, 60),
    "square": lambda m: "sq" + "0atp-" + m.of(BASE64URL, 22),
    "fernet": lambda m: "gAA" + "AAA" + m.of(BASE64URL, 80),
    "jwt": lambda m: "" + _jwt(m),
    "bcrypt": lambda m: "$2" + "b$12$" + m.of(ALNUM, 53),
    "argon2": lambda m: "$arg" + "on2id$v=19$m=65536,t=3,p=4$" + m.of(ALNUM, 22) + "$" + m.of(ALNUM, 43),
    "django-hash": lambda m: "pbk" + "df2_sha256$600000$" + m.of(ALNUM, 22) + "$" + m.of(ALNUM, 43) + "=",
    "aws-session": lambda m: "IQo" + "Jb3JpZ2luX2Vj" + m.of(ALNUM, 120),
    "bitbucket": lambda m: "AT" + "BB" + m.of(ALNUM, 32),
    "atlassian": lambda m: "ATA" + "TT3xFfGF0" + m.of(BASE64URL, 90) + "=" + m.of(UPPER, 8),
    "google-refresh": lambda m: "1/" + "/0" + m.of(BASE64URL, 60),
    "heroku": lambda m: "HR" + "KU-" + m.of(BASE64URL, 58),
    "netlify": lambda m: "nf" + "p_" + m.of(ALNUM, 36),
    "fly": lambda m: "fm" + "2_" + m.of(BASE64, 100) + "==",
    "cloudflare-ca": lambda m: "v1" + ".0-" + m.of(HEX, 24) + "-" + m.of(HEX, 146),
    "notion": lambda m: "nt" + "n_" + m.of(ALNUM, 46),
    "airtable": lambda m: "pa" + "t" + m.of(ALNUM, 14) + "." + m.of(HEX, 64),
    "figma": lambda m: "fi" + "gd_" + m.of(BASE64URL, 40),
    "supabase": lambda m: "sb" + "p_" + m.of(HEX, 40),
    "planetscale": lambda m: "psc" + "ale_" + m.one(["tkn", "pw"]) + "_" + m.of(ALNUM, 43),
    "facebook": lambda m: "EA" + "A" + m.of(ALNUM, 120),
    "square-oauth": lambda m: "EA" + "AA" + m.of(ALNUM, 30) + "_" + m.of(BASE64URL, 30),
    "twitter": lambda m: "A" * 21 + m.of(ALNUM, 20) + "%2B" + m.of(ALNUM, 60),
    "age": lambda m: "AGE-SEC" + "RET-KEY-1" + m.of("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58),
    "groq": lambda m: "gs" + "k_" + m.of(ALNUM, 52),
    "openrouter": lambda m: "sk" + "-or-v1-" + m.of(HEX, 64),
    "crates": lambda m: "ci" + "o" + m.of(ALNUM, 32),
    "typeform": lambda m: "tf" + "p_" + m.of(ALNUM, 20) + "." + m.of(ALNUM, 30),
    "alibaba": lambda m: "LT" + "AI" + m.of(ALNUM, 20),
    "tencent": lambda m: "AK" + "ID" + m.of(ALNUM, 32),
    "vault-old": lambda m: "s" + "." + m.of(ALNUM, 24),
    "huggingface-letters": lambda m: "h" + "f_" + m.of(string.ascii_letters, 34),
    "wallet": lambda m: m.one("KL") + m.of(BASE58, 51),
    "paseto": lambda m: "v4" + ".local." + m.of(BASE64URL, 90),
    "django-key": lambda m: "djan" + "go-insecure-" + m.of(LOWER + "!@$%^&*(-_=+)", 50),
    "sha512-crypt": lambda m: "$6" + "$" + m.of(ALNUM, 12) + "$" + m.of(ALNUM + "./", 86),
    "scrypt": lambda m: "scr" + "ypt:32768:8:1$" + m.of(ALNUM, 16) + "$" + m.of(HEX, 128),
    "ldap-hash": lambda m: "{SS" + "HA}" + m.of(BASE64, 38) + "==",
    "signed-session": lambda m: "" + _session(m),
    "discord-hook": lambda m: (
        f"https://discord.com/api/webhooks/{m.number(10**17, 10**18)}/{m.of(BASE64URL, 68)}"
    ),
    "hook": lambda m: f"https://chat.example/hooks/{m.of(ALNUM, 32)}",
    "one-time-url": lambda m: "otpauth://totp/A:b?secret=" + m.of(BASE32, 32),
    "random": lambda m: m.of(BASE64URL, 43),
}
TOKEN_FRAMES = [
    "{}",
    "refused {} today",
    "key {} is gone",
    "'{}'",
    "({})",
    "got {}.",
    "x={}",
    "a\n{}\nb",
    "url https://h.example/a/{}/b",
]

PERSONAL = {
    "email": lambda m: f"{m.name()}@{m.of(string.ascii_lowercase, 6)}.example",
    "email-unicode": lambda m: (
        f"jürgen.{m.of(string.ascii_lowercase, 6)}@müller-{m.of(string.ascii_lowercase, 4)}.de"
    ),
    "email-quoted": lambda m: (
        f'"{m.of(string.ascii_lowercase, 5)} {m.of(string.ascii_lowercase, 6)}"@mail.example'
    ),
    "ipv4": lambda m: ".".join(str(m.number(11, 99)) for _ in range(4)),
    "ipv6": lambda m: "2001:db8:" + ":".join(m.of(HEX, 4) for _ in range(6)),
    "ipv6-short": lambda m: f"2001:db8:{m.of(HEX, 4)}::{m.of(HEX, 4)}",
    "mac": lambda m: ":".join(m.of(HEX, 2) for _ in range(6)),
    "card": lambda m: m.card(),
    "iban": lambda m: m.iban(),
    "phone": lambda m: f"+49 {m.number(150, 179)} {m.number(1000000, 9999999)}",
    "phone-us": lambda m: f"({m.number(201, 899)}) {m.number(201, 899)}-{m.number(1000, 9999)}",
    "phone-zeros": lambda m: f"0049{m.number(150, 179)}{m.number(1000000, 9999999)}",
    "phone-area": lambda m: f"+49 (0){m.number(20, 99)}/{m.number(1000000, 9999999)}",
    "email-punycode": lambda m: f"{m.name()}@xn--{m.of(LOWER, 6)}-{m.of(LOWER, 3)}.de",
    "ipv4-mapped": lambda m: f"::ffff:{'.'.join(str(m.number(11, 99)) for _ in range(4))}",
    "ipv4-dashed": lambda m: f"ip-{'-'.join(str(m.number(11, 99)) for _ in range(4))}.ec2.internal",
    "ipv6-zone": lambda m: f"fe80::{m.of(HEX, 4)}:{m.of(HEX, 4)}%eth0",
    "mac-dashed": lambda m: "-".join(m.of(HEX, 2).upper() for _ in range(6)),
    "card-spaced": lambda m: _grouped(m.card(), m.one([" ", "-", "  ", "\u00a0"])),
    "iban-spaced": lambda m: _grouped(m.iban(), " "),
    "internal-host": lambda m: (
        f"db-{m.of(LOWER, 4)}.{m.of(string.ascii_lowercase, 6)}.{m.one(['internal', 'lan', 'corp', 'local'])}"
    ),
    "share": lambda m: f"\\\\{m.of(string.ascii_lowercase, 8)}\\share$\\x",
    "mac-dotted": lambda m: f"{m.of(HEX, 4)}.{m.of(HEX, 4)}.{m.of(HEX, 4)}",
    "email-local": lambda m: f"{m.name()}@localhost",
    "email-spoken": lambda m: (
        f"{m.of(string.ascii_lowercase, 6)} at {m.of(string.ascii_lowercase, 6)} dot com"
    ),
    "phone-bracketed": lambda m: f"+({m.number(201, 899)}) {m.number(2010, 8999)} {m.number(1000, 9999)}",
    "ssn": lambda m: f"{m.number(100, 600)}-{m.number(10, 99)}-{m.number(1000, 9999)}",
}
PERSONAL_FRAMES = [
    "{}",
    "no answer from {} yet",
    "'{}' is unknown",
    "<{}>",
    "failed for {}.",
    "[{}]",
    "value: {}",
]

NAMES = [
    "password",
    "DB_PASSWORD",
    "apiKey",
    "x-api-key",
    "client_secret",
    "accessToken",
    "auth.token",
    "session id",
    "PASSPHRASE",
    "private_key",
    "pwd",
    "csrf_token",
    "otp",
    "credentials",
    "Set-Cookie",
    "пароль",
    "contraseña",
]
PAIRS = {
    "pair-equals": "{name}={value}",
    "pair-spaces": "{name} = {value}",
    "pair-colon": "{name}: {value}",
    "pair-quoted": "{name}='{value}'",
    "pair-json": '{{"id": 7, "{name}": "{value}", "b": 1}}',
    "pair-escaped-json": '"{{\\"{name}\\": \\"{value}\\"}}"',
    "pair-repr": "{{'a': 1, '{name}': '{value}'}}",
    "pair-bytes": "{{b'{name}': b'{value}'}}",
    "pair-list": "[('{name}', '{value}'), ('b', 'c')]",
    "pair-yaml": "db:\n  {name}: {value}\n  port: 5432",
    "pair-yaml-block": "{name}: |\n  {value}\nnext: 1",
    "pair-toml": '[db]\n{name} = "{value}"\nport = 1',
    "pair-cli": "run --{name} {value} --verbose",
    "pair-cli-equals": "run --{name}={value} --verbose",
    "pair-argv": "Command '['run', '--{name}', '{value}']' returned non-zero exit status 1.",
    "pair-xml": "<cfg><{name}>{value}</{name}></cfg>",
    "pair-form": "a=1&{name}={value}&b=2",
    "pair-html": '<input name="{name}" value="{value}">',
    "pair-env": "environ({{'PATH': '/bin', '{name}': '{value}'}})",
    "pair-setattr": "setattr(config, '{name}', '{value}')",
    "pair-php": 'array(1) {{ ["{name}"]=> string(14) "{value}" }}',
    "pair-print-r": "Array\n(\n    [user] => guest\n    [{name}] => {value}\n)",
    "pair-ruby": '{{:{name}=>"{value}", :port=>1}}',
    "pair-go": "&{{Host:h {name}:{value}}}",
    "pair-table": "| setting | value |\n|---|---|\n| {name} | {value} |",
    "pair-cdata": "<{name}><![CDATA[{value}]]></{name}>",
    "pair-xml-type": '<ns:{name} type="s">{value}</ns:{name}>',
    "pair-android": '<string name="{name}">{value}</string>',
    "pair-hcl": 'variable "{name}" {{ default = "{value}" }}',
    "pair-helm": "helm upgrade x --set db.{name}={value} --wait",
    "pair-logfmt": 'level=error msg="denied" {name}={value} took=3ms',
    "pair-yaml-tag": "{name}: !!str {value}",
    "pair-name-value": '{{"env": [\n  {{\n    "name": "{name}",\n    "value": "{value}"\n  }}\n]}}',
    "pair-form-data": 'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--x',
    "pair-parameter": "{name}[]={value}",
    "pair-told": "{name} was {value}",
    "pair-said": "{name} is not valid: '{value}'",
    "pair-refused": "wrong {name} '{value}'",
    "pair-argparse": "run: error: argument --{name}: invalid int value: '{value}'",
    "pair-called": "{name}('{value}')",
    "pair-index": "{name}[{value}]",
    "pair-asserted": "assert '{value}' == None\n +  where '{value}' = config.{name}",
    "pair-statement": '{name} = connect("{value}")',
    "pair-full-width": "{name}\uff1d{value}",
    "pair-colour": "\x1b[31m{name}\x1b[0m=\x1b[1m{value}\x1b[0m",
    "pair-html-escaped": "&quot;{name}&quot;: &quot;{value}&quot;",
    "pair-fish": "set -x MY_{name} {value}",
    "pair-dataclass": "Config(host='h', {name}='{value}', port=1)",
    "pair-xml-property": '<property name="{name}"><value>{value}</value></property>',
    "pair-xml-siblings": "<property>\n  <name>{name}</name>\n  <value>{value}</value>\n</property>",
    "pair-arrow": "{name} -> {value}",
    "pair-erlang": '{{{name},"{value}"}}',
    "pair-lisp": '({name} . "{value}")',
    "pair-marked": "**{name}**: {value}",
    "pair-guillemets": "«{name}»: «{value}»",
    "pair-odbc": "Driver=x;{name}={value};Encrypt=yes",
}
_CLOSED = {
    "pair-argparse",
    "pair-asserted",
    "pair-called",
    "pair-cdata",
    "pair-fish",
    "pair-go",
    "pair-helm",
    "pair-index",
    "pair-logfmt",
    "pair-parameter",
    "pair-ruby",
    "pair-table",
    "pair-told",
    "pair-xml-type",
    "pair-dataclass",
    "pair-cli",
    "pair-cli-equals",
    "pair-argv",
    "pair-xml",
    "pair-env",
    "pair-arrow",
    "pair-erlang",
    "pair-lisp",
}

SENTENCES = {
    "prose": [
        "my password is {}",
        "the token {} has expired",
        "Invalid API key: {}",
        "password '{}' is wrong",
        "secret {} was revoked",
        "Das Passwort lautet {}",
        "login with password {} failed",
        "tried '{}' as password",
    ],
    "bearer": [
        "Authorization: Bearer {}",
        "curl -H 'Authorization: Bearer {}' https://h.example",
        "bad header Bearer {}",
        "{{'authorization': 'Bearer {}'}}",
    ],
    "cookie": [
        "Cookie: theme=dark; sessionid={}",
        "Set-Cookie: sid={}; Path=/; HttpOnly",
        "cookies={{'sessionid': '{}'}}",
        "Set-Cookie: a=b; Expires=Wed, 21 Oct 2015 07:28:00 GMT; sid={}; Path=/",
    ],
    "connection": [
        "postgresql://app:{}@db.example:5432/app",
        "redis://:{}@cache.example/0",
        "amqp://u:{}@mq.example//",
        "Server=db;Uid=app;Pwd={};Database=x",
        "host=db user=app password={} dbname=x",
        "jdbc:mysql://db/x?user=a&password={}",
        "mongodb+srv://u:{}@c.example/x",
    ],
    "query": [
        "GET /p?x={} HTTP/1.1",
        "https://h.example/p?a=1&q={}",
        "Max retries exceeded with url: /v1/x?k={} (Caused by NewConnectionError)",
        "401, message='Unauthorized', url=URL('https://h.example/x?k={}')",
        "https://h.example/cb#id={}",
    ],
    "userinfo": [
        "https://{}@git.example/r.git",
        "https://u:{}@h.example/x",
        "remote: https://oauth2:{}@git.example/r.git not found",
    ],
    "path": ["/reset-password/{}", "https://h.example/invite/{}/accept", "GET /verify/{} HTTP/1.1"],
    "sqlalchemy": [
        "(sqlite3.IntegrityError) UNIQUE constraint failed: t.a\n[SQL: INSERT INTO t]\n[parameters: ('{}',)]",
        "[SQL: SELECT 1]\n[parameters: {{'a': '{}', 'b': 2}}]",
    ],
    "postgres": [
        'duplicate key value violates unique constraint "t_a_key"\nDETAIL:  Key (a)=({}) already exists.',
        'null value in column "b"\nDETAIL:  Failing row contains (1, {}, null).',
        "invalid input for query argument $1: '{}' (expected int)",
        "CONTEXT:  unnamed portal parameter $1 = '{}'",
    ],
    "mysql": [
        "(1062, \"Duplicate entry '{}' for key 't.a'\")",
        "(1366, \"Incorrect integer value: '{}' for column 'a' at row 1\")",
    ],
    "sqlserver": [
        "Conversion failed when converting the varchar value '{}' to data type int.",
        "Cannot insert duplicate key in object 'dbo.t'. The duplicate key value is ({}).",
        "Driver=x;Server=db;Uid=app;PWD={{{}}};Encrypt=yes",
    ],
    "sql-compared": [
        "SELECT id FROM t WHERE a = '{}' LIMIT 1",
        "SELECT id FROM t WHERE a LIKE '%{}%'",
        "deadlock: UPDATE t SET a = '{}' WHERE id = 3",
        "(0.001) SELECT 1; args=('{}',); alias=default",
    ],
    "sql-context": [
        'invalid input syntax for type json\nDETAIL:  Token "{}" is invalid.',
        "CONTEXT:  JSON data, line 1: {}",
        'invalid input syntax for type integer: "{}"',
        'CONTEXT:  COPY t, line 3, column a: "{}"',
    ],
    "mongo": ['E11000 duplicate key error collection: a.t index: a_1 dup key: {{ a: "{}" }}'],
    "sql-literal": [
        "INSERT INTO t (a, b) VALUES (1, '{}')",
        "ALTER USER app WITH PASSWORD '{}'",
        "UPDATE t SET password = '{}' WHERE id = 1",
    ],
    "pydantic": [
        "1 validation error for M\na\n  Not an integer [type=int_parsing, input_value='{}', input_type=str]",
        "1 validation error for M\n  Required [type=missing, input_value={{'a': '{}'}}, input_type=dict]",
    ],
    "pydantic-list": [
        "[{{'type': 'int_parsing', 'loc': ('a',), 'msg': 'Not an integer', 'input': '{}'}}]",
        '{{"detail":[{{"type":"missing","loc":["a"],"msg":"Field required","input":{{"a":"{}"}}}}]}}',
    ],
    "command": [
        "Command '['mysql', '-u', 'root', '-p{}', 'db']' returned non-zero exit status 1.",
        "curl -u app:{} https://h.example",
        "sshpass -p {} ssh h",
        "redis-cli -a {} ping",
        "htpasswd -b file bob {}",
        "htpasswd -nbB bob {}",
        "useradd -p {} bob",
        "mc alias set s https://h.example bob {}",
        "isql dsn bob {}",
        "gh secret set NAME --body {}",
        "kinit bob <<< {}",
        "expdp scott/{} dumpfile=x",
        "openssl enc -aes-256-cbc -k {} -in x",
        "nmcli dev wifi connect home password {}",
        "lftp -u bob,{} h.example",
        "WRONGPASS invalid username-password pair: AUTH default {}",
    ],
    "directive": [
        "requirepass {}",
        "masterauth {}",
        "enable secret 5 {}",
        "snmp-server community {} RO",
        'ConvertTo-SecureString "{}" -AsPlainText',
    ],
    "netrc": ["machine h.example login app password {}"],
    "pgpass": ["db.example:5432:app:app:{}", "*:*:*:app:{}"],
    "oracle": ["jdbc:oracle:thin:scott/{}@//db:1521/x", "sqlplus scott/{}@db/x"],
    "piped": ["echo {} | sudo -S ls", "echo {} | docker login --password-stdin"],
    "languages": [
        "wachtwoord {} onjuist",
        "mot de passe : {}",
        "contraseña: {}",
        "пароль {} неверен",
        "密码 {}",
        "API-Schlüssel »{}«",
        "senha {}",
        "hasło {} niepoprawne",
    ],
}


def _jwt(m: Maker) -> str:
    parts = [json.dumps({"alg": "HS256", "n": m.of(ALNUM, 6)}), json.dumps({"sub": m.of(ALNUM, 8)})]
    return ".".join(
        [
            *(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts),
            m.of(BASE64URL, 43),
        ]
    )


def _session(m: Maker) -> str:
    claims = json.dumps({"_user_id": m.of(string.digits, 4), "_id": m.of(ALNUM, 14)}).encode()
    signed = base64.urlsafe_b64encode(claims).decode().rstrip("=")
    return f"{signed}.{m.of(BASE64URL, 6)}.{m.of(BASE64URL, 27)}"


def _grouped(text: str, separator: str) -> str:
    return separator.join(text[start : start + 4] for start in range(0, len(text), 4))


def _basic(m: Maker) -> tuple[str, str]:
    secret = base64.b64encode(f"app:{m.password()}".encode()).decode()
    return m.one(
        ["Authorization: Basic {}", "header 'Basic {}' refused", "proxy-authorization: basic {}"]
    ).format(secret), secret


def _pem(m: Maker) -> tuple[str, str]:
    body = "\n".join(m.of(ALNUM, 64) for _ in range(4))
    kind = m.one(["RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", ""])
    text = f"could not read -----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY----- here"
    return text, body.split("\n")[1]


def _home(m: Maker) -> tuple[str, str]:
    user = m.of(string.ascii_lowercase, 8)
    return m.one(
        [
            "/home/{}/app/x.py",
            "/Users/{}/x.txt is gone",
            "C:\\Users\\{}\\app",
            "'C:\\\\Users\\\\{}\\\\x'",
            "file:///home/{}/x",
        ]
    ).format(user), user


def _encoded(m: Maker) -> tuple[str, str]:
    secret = m.password()
    pair = f"password={secret}"
    return m.one(
        [
            quote(pair, safe=""),
            base64.b64encode(f"x {pair}".encode()).decode(),
            f"x {pair}".encode().hex(),
            pair.replace("=", "\\u003d"),
            f"&quot;password&quot;:&quot;{secret}&quot;",
        ]
    ), secret


def _wsl(m: Maker) -> tuple[str, str]:
    user = m.of(string.ascii_lowercase, 8)
    return m.one(
        [
            "/mnt/c/Users/{}/app",
            "\\\\wsl$\\Debian\\home\\{}\\x",
            "C:/Users/{}/x.py",
            "no file ~{}/app/x.py",
            "file:///C:/Users/{}/x",
        ]
    ).format(user), user


def _server(m: Maker) -> tuple[str, str]:
    host = f"{m.of(string.ascii_lowercase, 6)}.{m.of(string.ascii_lowercase, 6)}.example"
    return m.one(
        [
            'could not translate host name "{}" to address',
            'connection to server at "{}", port 5432 failed',
            "Can't connect to MySQL server on '{}' (111)",
            "postgresql://app:Planted77@{}:5432/app",
        ]
    ).format(host), host


def _role(m: Maker) -> tuple[str, str]:
    user = m.of(string.ascii_lowercase, 8)
    return m.one(
        ['role "{}" does not exist', 'password authentication failed for user "{}"', "user={} host=localhost"]
    ).format(user), user


def _passphrase(m):
    words = " ".join(m.of(string.ascii_lowercase, m.number(4, 7)) for _ in range(4))
    return m.one(["secret: {}", "password: {}", "passphrase = {}", "authorization: {}"]).format(words), words


def _account_name(m):
    name = m.of(string.ascii_lowercase, 9)
    frames = [
        "uid=1000({}) gid=1000(staff)",
        "-rw-r--r-- 1 {} staff 12 Jan 1 12:00 x",
        "chown {} /srv/x",
        "sudo: {} : user NOT in sudoers",
        "{}@laptop:~$ ls",
        "user '{}' is locked",
    ]
    return m.one(frames).format(name), name


def _full_name(m):
    name = " ".join(m.of(string.ascii_lowercase, count).title() for count in (6, 8))
    return m.one(["full_name: {}", "Full name: {}", "customer's full name: {}", "fullName={}"]).format(
        name
    ), name


def _plain_login(m):
    secret = m.password()
    login = base64.b64encode(f"\0bob\0{secret}".encode()).decode()
    return f"535 b'5.7.8 AUTH PLAIN {login}'", secret


def _mnemonic(m: Maker) -> tuple[str, str]:
    words = " ".join(m.of(string.ascii_lowercase, m.number(3, 8)) for _ in range(12))
    return m.one(["seed phrase: {}", "mnemonic = {}", "wallet '{}' is empty"]).format(words), words


def _code(m: Maker) -> tuple[str, str]:
    code = m.of(string.digits, 6)
    return m.one(["your verification code is {}", "OTP {} is wrong", "PIN: {}"]).format(code), code


OTHERS = {
    "basic": _basic,
    "pem": _pem,
    "home": _home,
    "home-elsewhere": _wsl,
    "server": _server,
    "role": _role,
    "mnemonic": _mnemonic,
    "passphrase": _passphrase,
    "account-name": _account_name,
    "full-name": _full_name,
    "plain-login": _plain_login,
    "encoded": _encoded,
    "code": _code,
}
KINDS = (*TOKENS, *PERSONAL, *PAIRS, *SENTENCES, *OTHERS)


def planted(kind: str, seed: int) -> tuple[str, str]:
    """Return a text with a secret of that kind in it, and the secret."""
    m = Maker(f"{kind}-{seed}")
    if kind in TOKENS:
        secret = TOKENS[kind](m)
        return m.one(TOKEN_FRAMES).format(secret), secret
    if kind in PERSONAL:
        secret = PERSONAL[kind](m)
        return m.one(PERSONAL_FRAMES).format(secret), secret
    if kind in PAIRS:
        secret = m.password()
        names = (
            [n for n in NAMES if n.isascii() and " " not in n] if kind in _CLOSED | {"pair-html"} else NAMES
        )
        return PAIRS[kind].format(name=m.one(names), value=secret), secret
    if kind in SENTENCES:
        secret = m.password() if kind != "bearer" else m.of(LOWER, 32)
        return m.one(SENTENCES[kind]).format(secret), secret
    return OTHERS[kind](m)
