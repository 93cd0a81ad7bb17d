#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tests/store/s3_server.py - object storage for tests, with faults: s3_server.py prints its port.

Checks every signature by an implementation of its own.  A request to /__control sets what goes wrong from now on:
    /__control?kind=KIND&at=N    at the Nth request from now: cut-before, cut-after, 500, 503, wrong-etag, truncate
    /__control?kind=no-conditional&at=1   If-None-Match is not understood from now on;  kind=skew: the clock is two hours ahead
    /__control?kind=clear&at=0   nothing; answers with the number of requests since the last control
"""
import datetime, hashlib, hmac, socketserver, sys, threading, urllib.parse
from http.server import BaseHTTPRequestHandler

KEY, SECRET, REGION = 'test-key', 'test/secret', 'us-test-1'
lock = threading.Lock()
objects, uploads = {}, {}
state = {'kind': 'clear', 'at': 0, 'n': 0, 'conditional': True, 'skew': 0, 'uploads': 0, 'back': 0}
begun = {}


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(method, path, query, headers, signed, payload, date, scope):
    canonical = '\n'.join([method, path, query, ''.join(f'{h}:{headers.get(h, "").strip()}\n' for h in signed),
                           ';'.join(signed), payload])
    text = '\n'.join(['AWS4-HMAC-SHA256', date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    day, region, service, end = scope.split('/')
    key = sign(sign(sign(sign(('AWS4' + SECRET).encode(), day), region), service), end)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    wbufsize = 65536
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string((timestamp or datetime.datetime.now().timestamp()) + state['skew'])

    def answer(self, status, body=b'', **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        if 'Content_Length' not in headers:
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def error(self, status, code):
        self.answer(status, f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>as told</Message></Error>'.encode())

    def authorized(self, path, query, body):
        headers = {k.lower(): v for k, v in self.headers.items()}
        now = datetime.datetime.utcnow() + datetime.timedelta(seconds=state['skew'])
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
        values = dict(pairs)
        if 'X-Amz-Signature' in values:
            given, signed = values['X-Amz-Signature'], values['X-Amz-SignedHeaders'].split(';')
            scope = values['X-Amz-Credential'].split('/', 1)[1]
            date, payload = values['X-Amz-Date'], 'UNSIGNED-PAYLOAD'
            query = '&'.join(p for p in query.split('&') if not p.startswith('X-Amz-Signature='))
            age = (now - datetime.datetime.strptime(date, '%Y%m%dT%H%M%SZ')).total_seconds()
            if age > int(values['X-Amz-Expires']):
                return 'AccessDenied'
        else:
            parts = dict(p.strip().split('=', 1) for p in headers.get('authorization', 'X x=').split(' ', 1)[1].split(','))
            if 'Signature' not in parts or not parts['Credential'].startswith(KEY + '/'):
                return 'InvalidAccessKeyId'
            given, signed, scope = parts['Signature'], parts['SignedHeaders'].split(';'), parts['Credential'].split('/', 1)[1]
            date, payload = headers['x-amz-date'], headers['x-amz-content-sha256']
            if payload != hashlib.sha256(body).hexdigest():
                return 'XAmzContentSHA256Mismatch'
            if 'if-none-match' in headers and 'if-none-match' not in signed:
                return 'AccessDenied'
            age = (now - datetime.datetime.strptime(date, '%Y%m%dT%H%M%SZ')).total_seconds()
            if abs(age) > 900:
                return 'RequestTimeTooSkewed'
        if signed != sorted(signed) or 'host' not in signed or scope.split('/')[1] != REGION:
            return 'AuthorizationHeaderMalformed'
        for h in signed:
            if h not in headers:
                return 'AccessDenied'
        query = '&'.join(sorted(query.split('&'))) if query else ''
        want = signature(self.command, path, query, headers, signed, payload, date, scope)
        return None if hmac.compare_digest(want, given) else 'SignatureDoesNotMatch'

    def handle_one(self):
        target = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        values = dict(urllib.parse.parse_qsl(target.query, keep_blank_values=True))
        if target.path == '/__control':
            with lock:
                n, kind = state['n'], values['kind']
                state.update(kind=kind, at=int(values['at']), n=0)
                if kind == 'clear':
                    state.update(conditional=True, skew=0, back=0)
                if kind == 'no-conditional':
                    state['conditional'] = False
                if kind == 'skew':
                    state['skew'] = 7200
                if kind == 'old-uploads':
                    state['back'] = 172800
                if kind == 'empty':
                    objects.clear()
            self.answer(200, str(n).encode())
            return
        with lock:
            state['n'] += 1
            kind = state['kind'] if state['n'] == state['at'] else ''
        if kind == 'cut-before':
            self.close_connection = True
            return
        if kind in ('500', '503'):
            self.error(int(kind), 'SlowDown' if kind == '503' else 'InternalError')
            return
        why = self.authorized(target.path, target.query, body)
        if why:
            self.error(403, why)
            return
        if kind == 'cut-after':
            self.answer = lambda *a, **k: None
            self.close_connection = True
        self.kind = kind
        bucket, _, key = target.path[1:].partition('/')
        if bucket != 'bucket':
            self.error(404, 'NoSuchBucket')
            return
        with lock:
            self.operate(key, values, body)

    def taken(self, key):
        return state['conditional'] and self.headers.get('If-None-Match') == '*' and key in objects

    def operate(self, key, values, body):
        etag = hashlib.md5(body).hexdigest()
        shown = 'f' * 32 if self.kind == 'wrong-etag' else etag
        if self.command == 'GET' and not key and 'uploads' in values:
            self.list_uploads(values)
        elif self.command == 'GET' and not key:
            self.list(values)
        elif self.command == 'POST' and 'uploads' in values:
            state['uploads'] += 1
            uploads[f'up&{state["uploads"]}'] = {}
            when = datetime.datetime.utcnow() - datetime.timedelta(seconds=state['back'])
            begun[f'up&{state["uploads"]}'] = (key, when.strftime('%Y-%m-%dT%H:%M:%S.000Z'))
            self.answer(200, f'<R><UploadId>up&amp;{state["uploads"]}</UploadId></R>'.encode())
        elif self.command == 'PUT' and 'partNumber' in values:
            if values['uploadId'] not in uploads:
                self.error(404, 'NoSuchUpload')
                return
            uploads[values['uploadId']][int(values['partNumber'])] = body
            self.answer(200, ETag=f'"{shown}"')
        elif self.command == 'POST':
            parts = uploads.get(values['uploadId'])
            if parts is None:
                self.error(404, 'NoSuchUpload')
            elif self.taken(key):
                self.error(412, 'PreconditionFailed')
            else:
                objects[key] = b''.join(parts[i] for i in sorted(parts))
                del uploads[values['uploadId']]
                self.answer(200, b'<CompleteMultipartUploadResult></CompleteMultipartUploadResult>')
        elif self.command == 'PUT':
            if self.taken(key):
                self.error(412, 'PreconditionFailed')
                return
            objects[key] = body if self.kind != 'wrong-etag' else body + b'!'
            self.answer(200, ETag=f'"{shown}"')
        elif self.command == 'DELETE':
            if 'uploadId' in values:
                uploads.pop(values['uploadId'], None)
            else:
                objects.pop(key, None)
            self.answer(204)
        elif key not in objects:
            self.error(404, 'NoSuchKey')
        elif self.command == 'HEAD':
            self.answer(200, Content_Length=str(len(objects[key])))
        else:
            self.get(objects[key])

    def get(self, data):
        first, last = (int(x) for x in self.headers['Range'][6:].split('-'))
        if first >= len(data):
            self.error(416, 'InvalidRange')
            return
        part = data[first:last + 1]
        if self.kind == 'truncate':
            self.answer(206, part[:len(part) // 2], Content_Length=str(len(part)))
            self.close_connection = True
            return
        self.answer(206, part)

    def list_uploads(self, values):
        text = '<?xml version="1.0"?><ListMultipartUploadsResult xmlns="x"><Bucket>bucket</Bucket>'
        for i in uploads:
            if begun[i][0].startswith(values.get('prefix', '')):
                text += f'<Upload><Key>{begun[i][0]}</Key><UploadId>{i.replace("&", "&amp;")}</UploadId>'
                text += f'<Initiated>{begun[i][1]}</Initiated></Upload>'
        self.answer(200, (text + '</ListMultipartUploadsResult>').encode())

    def list(self, values):
        prefix, after = values.get('prefix', ''), values.get('continuation-token', '')
        keys = sorted(k for k in objects if k.startswith(prefix) and k > after)
        page = keys[:100]
        more = len(keys) > len(page)
        text = '<?xml version="1.0"?><ListBucketResult xmlns="x"><Name>bucket</Name>'
        text += f'<IsTruncated>{"true" if more else "false"}</IsTruncated>'
        if more:
            text += f'<NextContinuationToken>{page[-1]}</NextContinuationToken>'
        for k in page:
            text += f'<Contents><Key>{k}</Key><Size>{len(objects[k])}</Size></Contents>'
        self.answer(200, (text + '</ListBucketResult>').encode())

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 50


server = Server(('127.0.0.1', 0), Handler)
print(server.server_address[1], flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
server.serve_forever()
