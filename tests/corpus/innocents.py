"""Texts without a secret, among them many that look as if they had one."""

from __future__ import annotations

INNOCENTS = """
token expired
Token has expired
Signature has expired
password must not be empty
Password must be at least 8 characters
The password confirmation does not match
cookie consent was declined
Invalid token
Invalid password
Not authenticated
Could not validate credentials
Unexpected token '<', "<!DOCTYPE "... is not valid JSON
Unexpected token < in JSON at position 0
Expecting ',' delimiter: line 1 column 5 (char 4)
get_token() missing 1 required positional argument: 'password'
'Session' object has no attribute 'token'
session is closed
This session is provisioning a new connection; concurrent operations are not permitted
CSRF token missing or incorrect.
The CSRF token is invalid.
password: This field is required.
{'password': ['This field may not be blank.']}
token: signature has expired
password: none
token=None
secret_key=None
password=****
api_key=<redacted>
SELECT * FROM users WHERE email = $1
SELECT id FROM t WHERE token = ? AND x = %s
UPDATE users SET password = %(password)s WHERE id = %(id)s
INSERT INTO t (a, b) VALUES (?, ?)
[parameters: ()]
token type id_token is not supported
password authentication failed for user "fastflow"
version 1.2.3.4
OpenSSL 3.0.13.1
127.0.0.1:8000
0.0.0.0
::1
localhost:5432
http://127.0.0.1:8000/api
Connection refused [::1]:5432
commit 3f2a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a
HEAD is now at 3f2a9b8
sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
md5 d41d8cd98f00b204e9800998ecf8427e does not match
run 3f2504e0-4f89-11d3-9a0c-0305e82c3301 failed
trace 4bf92f3577b34da6a3ce929d0e0e4736
2024-01-02T03:04:05.123+00:00
2024-01-02 03:04:05,678 INFO started
order 1234567890
order 4000-1234-99
ISBN 978-3-16-148410-0
object at 0x7f8b2c3d4e50
#ff8800
rgba(255, 128, 0, 0.5)
port 5432
line 123 column 45
E = mc^2
f(x) = x**2 + 3*x - 1
a[1:2], b[::2]
12:34:56
1,234,567.89 €
from secrets import token_hex
import tokenize
def get_token(self) -> str:
class TokenExpired(Exception):
Die Datei wurde nicht gefunden: Bericht.pdf
Das Passwort ist abgelaufen
El archivo no existe
Le mot de passe est requis
ファイルが見つかりません
Файл не найден
/usr/lib/python3/dist-packages/x.py
/usr/lib/python3.11/asyncio/events.py:80
/opt/fastflow/releases/2026-11-24/app.py
data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==
integrity sha512-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
keyboard interrupt
primary key (id)
the key 'name' is missing
KeyError: 'token'
secretary=Ms Miller
max_tokens: 512
tokenizer=bert-base-uncased
prompt_tokens=12, completion_tokens=34, total_tokens=46
exit code 137
status code: 404
error code 1062
HTTP 500
code is poetry
session 12 of 30
pin the version
otp application started
'utf-8' codec can't decode byte 0x80 in position 3131: invalid start byte
unsupported operand type(s) for +: 'int' and 'NoneType'
GET /api/v1/users/42/runs HTTP/1.1
worker-7f9c6d5b8-x2x9z
Traceback (most recent call last)
PostgreSQL 15.4 on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0-14) 12.2.0, 64-bit
git@github.com:org/repo.git
pip install fastapi==0.115.0
node:18-alpine
10 of 20 (50%)
100 - 50 = 50
Q4 2026
A4 paper 210 x 297
+3.5 %
UTC+02:00
x-request-id header missing
Basic authentication required
bearer authentication
the secret santa list
authors: Max
pass 12, fail 3
passed=12 failed=3
tests: pass=12
key=value
sort_key=name
public_key missing
signature mismatch for function foo(a, b)
card layout is broken
pinned=True
spinning
session timeout: 30
password_min_length=12
token_count=512
token_type=bearer
has_password=True
cookies: enabled
C:\\Program Files\\Python311\\python.exe
C:\\new\\table
\\d+\\.\\d+
https://example.com/docs/page.html
ws://localhost:8000/ws
/home/index.html
mailto link
@app.route("/x")
foo@bar
3.14159265358979
1e-10
0xdeadbeef
ETag: W/"abc"
Content-Type: application/json; charset=utf-8
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.6099.109 Safari/537.36
accept: */*
column "password_hash" does not exist
relation "tokens" does not exist
null value in column "token" violates not-null constraint
duplicate key value violates unique constraint "users_email_key"
Field required [type=missing, input_value={}, input_type=dict]
EOF when reading a line
[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate
Retrying (Retry(total=2, connect=None, read=None, redirect=None, status=None)) after connection broken
'NoneType' object has no attribute 'name'
division by zero
list index out of range
invalid literal for int() with base 10: 'abc'
could not convert string to float: '12,5'
[Errno 2] No such file or directory: 'data/app.db'
[Errno 98] Address already in use
maximum recursion depth exceeded while calling a Python object
cannot import name 'Pipeline' from 'fastflow.models' (fastflow/models.py)
(sqlite3.OperationalError) no such table: system_settings
(sqlite3.IntegrityError) UNIQUE constraint failed: pipelines.name
canceling statement due to statement timeout
Cannot connect to host git.example.org:443 ssl:default [Name or service not known]
Server disconnected without sending a response.
404 Client Error: Not Found for url: https://git.example.org/team/flow.git
time data '2026-01-02 03:04:05' does not match format '%Y-%m-%d'
image python:3.12-slim@sha256:0a1b2c3d4e5f was not found
std::vector<int> in a::b at dead::beef, slice [::2]
pipeline 'nightly' step 3/7 failed with exit code 137
greenlet_spawn has not been called; can't call await_only() here
(psycopg.errors.UndefinedColumn) column t.b does not exist
LINE 1: SELECT t.b FROM t
asyncio.exceptions.CancelledError
Object of type datetime is not JSON serializable
cannot pickle '_thread.lock' object
BadZipFile: File is not a zip file
subprocess 'pg_dump' returned 1
TemplateNotFound: emails/reset.html
No module named 'token_store'
Worker (pid:4242) was sent SIGKILL! Perhaps out of memory?
Task was destroyed but it is pending!
<Task pending name='Task-12' coro=<run() running at app.py:42>>
Response [401]
max_connections = 100
temperature: 21.5 °C
ratio 16:9
$5.00 off
50 Cent
rate limit: 100/min
gpt-4o-mini has a context of 128000 tokens
model bert-base-uncased-v2
x86_64-linux-gnu
en_US.UTF-8
Europe/Berlin
Mon, 24 Nov 2026 03:04:05 GMT
0 3 * * *
v2.1.0-rc.1+build.5
semver ^1.2.3
1.2.3
10.5.0
>=3.11,<4
fastapi>=0.115
SHA-256
RSA-2048
ES256
utf-8
base64
hunter gatherer
passport office
department=passport
compass heading
assessment
authority=city
author=miller
keyboard: de
monkey=2
shipping=dhl
""".strip().split("\n")
