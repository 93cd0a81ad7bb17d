#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads a repository with nothing but vbackup-repository(5), and extracts its newest backup.

    decode_by_hand.py REPOSITORY TARGET [PASSWORD]   extracts
    decode_by_hand.py --example PAGE                 recomputes the worked examples and finds them in the man page

No line here is taken from the program: whoever changes the format must change the page and this file, too.
"""
import ctypes, ctypes.util, hashlib, hmac, json, os, re, struct, sys, zlib

DATA, TREE, LIST, DOC = 1, 2, 3, 4

# ---- AES-256-GCM and X25519 from libcrypto; the rest is in Python itself

crypto = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
for f in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm", "EVP_PKEY_new_raw_private_key", "EVP_PKEY_new_raw_public_key",
          "EVP_PKEY_CTX_new"):
    getattr(crypto, f).restype = ctypes.c_void_p
X25519_ID = 1034


def gcm(key, nonce, aad, data, seal):
    ctx, n, out = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new()), ctypes.c_int(), ctypes.create_string_buffer(len(data) + 16)
    iv, body = nonce.to_bytes(12, "big"), data if seal else data[:-16]
    crypto.EVP_CipherInit_ex(ctx, ctypes.c_void_p(crypto.EVP_aes_256_gcm()), None, key, iv, int(seal))
    if aad:
        crypto.EVP_CipherUpdate(ctx, None, ctypes.byref(n), aad, len(aad))
    if body:
        crypto.EVP_CipherUpdate(ctx, out, ctypes.byref(n), body, len(body))
    if not seal:
        crypto.EVP_CIPHER_CTX_ctrl(ctx, 0x11, 16, data[-16:])
    ok = crypto.EVP_CipherFinal_ex(ctx, ctypes.create_string_buffer(16), ctypes.byref(n))
    assert ok == 1, "seal is broken"
    tag = ctypes.create_string_buffer(16)
    if seal:
        crypto.EVP_CIPHER_CTX_ctrl(ctx, 0x10, 16, tag)
    crypto.EVP_CIPHER_CTX_free(ctx)
    return out.raw[:len(body)] + (tag.raw if seal else b"")


def x25519_public(secret):
    key, out, n = ctypes.c_void_p(crypto.EVP_PKEY_new_raw_private_key(X25519_ID, None, secret, ctypes.c_size_t(32))), \
        ctypes.create_string_buffer(32), ctypes.c_size_t(32)
    assert crypto.EVP_PKEY_get_raw_public_key(key, out, ctypes.byref(n)) == 1
    return out.raw


def x25519(secret, public):
    own = ctypes.c_void_p(crypto.EVP_PKEY_new_raw_private_key(X25519_ID, None, secret, ctypes.c_size_t(32)))
    peer = ctypes.c_void_p(crypto.EVP_PKEY_new_raw_public_key(X25519_ID, None, public, ctypes.c_size_t(32)))
    ctx, out, n = ctypes.c_void_p(crypto.EVP_PKEY_CTX_new(own, None)), ctypes.create_string_buffer(32), ctypes.c_size_t(32)
    assert crypto.EVP_PKEY_derive_init(ctx) == 1 and crypto.EVP_PKEY_derive_set_peer(ctx, peer) == 1
    assert crypto.EVP_PKEY_derive(ctx, out, ctypes.byref(n)) == 1
    return out.raw


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def derive(key, label, data=b""):
    return mac(key, label.encode() + b"\0" + data)


def hkdf(secret, salt, info):
    return mac(mac(salt, secret), info + b"\1")


# ---- keys

class Keys:
    def __init__(self, repo_id, root, sealed):
        self.id, self.root, self.sealed, self.overhead = repo_id, root, sealed, 16 if sealed else 0
        self.private = derive(root, "private key")
        self.public = x25519_public(self.private)

    def tag(self, group):
        return derive(self.root, "group tag", group.encode())[:16]

    def of(self, tag, what):
        return derive(derive(self.root, "group secret", tag), what)

    def key(self, kind, tag, salt, shared=None):
        if kind == "index":
            secret = self.of(tag, "index")
        else:
            secret = (shared or x25519(self.private, salt)) + self.of(tag, "write")
        return hkdf(secret, salt + self.public, b"vbackup 1 %s %s " % (kind.encode(), self.id.encode()) + tag)

    def header(self, data, magic, version=1):
        assert data[:4] == magic and data[4:8] == bytes([version, int(self.sealed), 0, 0])
        return data[8:24], data[24:56]

    def open(self, key, nonce, aad, data):
        return gcm(key, nonce, aad, data, False) if self.sealed else data

    def body(self, data, kind, magic, aad=b"", version=1):
        tag, salt = self.header(data, magic, version)
        return tag, self.open(self.key(kind, tag, salt) if self.sealed else b"", 0, aad, data[56:])


def open_key_file(repo, config, password):
    for name in os.listdir(os.path.join(repo, "keys")):
        text = open(os.path.join(repo, "keys", name), "rb").read()
        assert hashlib.sha256(text).hexdigest() == name
        k = json.loads(text)
        assert k["vbackup"] == "key" and k["format_version"] == 1 and k["repository"] == config["id"]
        sealed, salt = bytes.fromhex(k.pop("sealed")), bytes.fromhex(k["salt"])
        if k["holds"] != "root":
            continue
        hard = hashlib.scrypt(password.encode(), salt=salt, n=1 << k["log2_n"], r=8, p=1, maxmem=1 << 30, dklen=32)
        wrap = hkdf(hard, salt, b"vbackup 1 key " + config["id"].encode())
        return gcm(wrap, 0, json.dumps(k, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(), sealed, False)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert self.at + n <= len(self.data), "cut off"
        self.at += n
        return self.data[self.at - n:self.at]

    def num(self, n, signed=False):
        return int.from_bytes(self.take(n), "big", signed=signed)

    def str16(self):
        s = self.take(self.num(2))
        assert self.take(1) == b"\0" and b"\0" not in s
        return s

    def end(self):
        assert self.at == len(self.data), "something behind the end"


def name_of(key, kind, plain):
    return hmac.new(key, bytes([kind]) + plain, hashlib.sha256).digest()


def check_config(repo, password):
    config = json.load(open(os.path.join(repo, "config")))
    assert config["vbackup"] == "repository" and config["format_version"] in (0, 1, 2)
    text = json.dumps({k: v for k, v in config.items() if k not in ("checksum", "mac")}, sort_keys=True,
                      separators=(",", ":")).encode()
    assert hashlib.sha256(text).hexdigest() == config["checksum"]
    if config["format_version"] == 0:
        assert config["encryption"] == "none"
        return None, bytes.fromhex(config["naming_key"])
    if config["encryption"] == "none":
        return Keys(config["id"], bytes.fromhex(config["root"]), False), None
    assert config["encryption"] == "aes-256-gcm"
    keys = Keys(config["id"], open_key_file(repo, config, password), True)
    assert derive(derive(keys.root, "configuration"), "config", text).hex() == config["mac"]
    return keys, None


def read_pack0(data, key, chunks):
    assert data[:8] == b"VBPK" + bytes(4) and data[-8:] == bytes(4) + b"KPBV"
    count, crc = struct.unpack(">II", data[-16:-8])
    trailer = data[-16 - 48 * count:-16]
    assert zlib.crc32(trailer) == crc
    at = 8
    for i in range(count):
        kind, encoding, zero, raw, stored, offset = struct.unpack(">BBHIII", trailer[48 * i:48 * i + 16])
        name = trailer[48 * i + 16:48 * i + 48]
        head = data[at:at + 48]
        assert zero == 0 and head[:12] == trailer[48 * i:48 * i + 12] and head[16:] == name
        assert zlib.crc32(head[:12] + head[16:]) == int.from_bytes(head[12:16], "big") and offset == at + 48
        assert encoding == 0 and raw == stored, "this reader has no zstd"
        plain = data[offset:offset + stored]
        assert name_of(key, kind, plain) == name
        chunks[name] = (kind, plain)
        at = offset + stored
    assert at == len(data) - 16 - 48 * count
    return count


def read_pack1(data, keys, chunks):
    tag, salt = keys.header(data, b"VBPK")
    assert data[-8:] == bytes([1, 0, 0, 0]) + b"KPBV"
    key, naming = keys.key("pack", tag, salt) if keys.sealed else b"", keys.of(tag, "naming")
    count, crc = struct.unpack(">II", data[-16:-8])
    sealed = data[-16 - 48 * count - keys.overhead:-16]
    assert zlib.crc32(sealed) == crc
    trailer = keys.open(key, 0xffffffff, b"", sealed)
    at = 56
    for i in range(count):
        entry = trailer[48 * i:48 * i + 48]
        kind, encoding, zero, raw, stored, offset = struct.unpack(">BBHIII", entry[:16])
        assert zero == 0 and offset == at and encoding == 0 and raw == stored, "this reader has no zstd"
        at += stored + keys.overhead
        plain = keys.open(key, offset, entry[:12] + entry[16:], data[offset:at])
        assert name_of(naming, kind, plain) == entry[16:]
        chunks[entry[16:]] = (kind, plain)
    assert at == len(data) - 16 - len(sealed)
    return count


def read_pack(path, keys, key, chunks):
    data = open(path, "rb").read()
    assert hashlib.sha256(data).hexdigest() == os.path.basename(path)
    return read_pack1(data, keys, chunks) if keys else read_pack0(data, key, chunks)


def read_index(path, keys, chunks):
    data = open(path, "rb").read()
    assert hashlib.sha256(data).hexdigest() == os.path.basename(path)
    dated = data[4] == 2
    if keys:
        body = keys.body(data, "index", b"VBIX", b"\2" if dated else b"", 2 if dated else 1)[1]
    else:
        assert data[:8] == b"VBIX" + bytes([2 if dated else 0, 0, 0, 0])
        body = data[8:]
    r, told = Reader(body), 0
    if dated:
        assert r.num(8) == 0, "nothing was pruned here"
    while r.at < len(body):
        r.take(32 + 8)
        count = r.num(4)
        if keys:
            r.take(32)
        for _ in range(count):
            r.take(16)
            assert r.take(32) in chunks
            told += 1
    return told


def read_ledger(repo, keys):
    """The backups that it names: number and hash."""
    named, before = set(), None
    folder = os.path.join(repo, "ledger")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        data = open(os.path.join(folder, name), "rb").read()
        assert len(data) == 128 and data[:4] == b"VBLG" and data[4] == 1 and data[6:8] == bytes(2)
        tag, number = data[8:24], int(name)
        assert int.from_bytes(data[24:32], "big") == number and data[32:64] == (before or bytes(32))
        write = keys.of(tag, "write") if keys else bytes(32)
        assert derive(write, "ledger", data[:96]) == data[96:]
        if data[5] == 1:
            named.add((number, data[64:96].hex()))
        before = hashlib.sha256(data).digest()
    return named


def newest_entry(repo, keys):
    named = read_ledger(repo, keys)
    first = min((n for n, _ in named), default=1 << 40)
    names = sorted(os.listdir(os.path.join(repo, "catalog")))
    return [n for n in names if int(n[:10]) < first or (int(n[:10]), n[48:]) in named][-1]


def read_entry_file(repo, newest, keys):
    data = open(os.path.join(repo, "catalog", newest), "rb").read()
    sequence, backup_id, digest = newest[:10], newest[11:47], newest[48:]
    assert hashlib.sha256(data).hexdigest() == digest
    if keys and keys.sealed:
        data = keys.body(data, "entry", b"VBCE", struct.pack(">Q", int(sequence)) + backup_id.encode())[1]
    backup = json.loads(data)
    assert backup["vbackup"] == "backup" and backup["format_version"] == 0
    assert backup["sequence"] == int(sequence) and backup["id"] == backup_id
    return backup


def content_bytes(chunks, level, refs, kind):
    out = b""
    for name, size in refs:
        have, plain = chunks[name]
        if level == 0:
            assert have == kind
            piece = plain
        else:
            assert have == LIST
            r = Reader(plain)
            assert r.num(1) == 0 and r.num(1) == level - 1 and r.num(2) == 0
            below = [(r.take(32), r.num(8)) for _ in range(r.num(4))]
            r.end()
            piece = content_bytes(chunks, level - 1, below, kind)
        assert len(piece) == size
        out += piece
    return out


def read_entry(r):
    e = {"type": r.num(1)}
    fields = r.num(2)
    e["name"] = r.str16()
    e["mode"], e["uid"], e["gid"] = r.num(4), r.num(4), r.num(4)
    e["user"], e["group"], e["size"] = r.str16(), r.str16(), r.num(8)
    e["mtime"] = (r.num(8, True), r.num(4))
    e["ctime"] = (r.num(8, True), r.num(4))
    e["inode"] = r.num(8)
    e["content"] = (0, [])
    e["holes"] = []
    if fields & 0x001: e["device"] = r.num(8)
    if fields & 0x002: e["rdev"] = (r.num(4), r.num(4))
    if fields & 0x004: e["target"] = r.str16()
    if fields & 0x008: e["group"] = r.num(8)
    if fields & 0x010: e["flags"] = r.num(4)
    if fields & 0x020: e["xattrs"] = [(r.str16(), r.take(r.num(4))) for _ in range(r.num(2))]
    if fields & 0x040: e["holes"] = [(r.num(8), r.num(8)) for _ in range(r.num(4))]
    if fields & 0x080:
        level = r.num(1)
        e["content"] = (level, [(r.take(32), r.num(8)) for _ in range(r.num(2))])
    if fields & 0x100: e["subtree"] = r.take(32)
    return e


def entries(chunks, name):
    kind, plain = chunks[name]
    r = Reader(plain)
    assert kind == TREE and r.num(1) == 0
    height, zero, count = r.num(1), r.num(2), r.num(4)
    assert zero == 0
    for _ in range(count):
        if height == 0:
            yield read_entry(r)
        else:
            child, r_entries, _first = r.take(32), r.num(8), r.str16()
            below = list(entries(chunks, child))
            assert len(below) == r_entries
            yield from below
    r.end()


def extract(chunks, name, target):
    for e in entries(chunks, name):
        path = target if e["name"] == b"." else os.path.join(target, os.fsdecode(e["name"]))
        if e["type"] == 2:
            os.makedirs(path, exist_ok=True)
            extract(chunks, e["subtree"], path)
        elif e["type"] == 1:
            level, refs = e["content"]
            data = content_bytes(chunks, level, refs, DATA)
            assert len(data) == e["size"] - sum(n for _, n in e["holes"])
            open(path, "wb").write(data)


def main(repo, target, password=None):
    chunks, counted = {}, 0
    keys, key = check_config(repo, password)
    for d, _, names in os.walk(os.path.join(repo, "packs")):
        for n in names:
            counted += read_pack(os.path.join(d, n), keys, key, chunks)
    told = sum(read_index(os.path.join(repo, "index", n), keys, chunks) for n in os.listdir(os.path.join(repo, "index")))
    assert told == counted == len(chunks)
    backup = read_entry_file(repo, newest_entry(repo, keys), keys)
    os.mkdir(target)
    for host in backup["hosts"]:
        for component in host["components"]:
            for root in component["roots"]:
                extract(chunks, bytes.fromhex(root["tree"]), target)
    for d in backup["documents"]:
        refs = [(bytes.fromhex(c["name"]), c["size"]) for c in d["content"]]
        assert b"<event number='39' seed=" in content_bytes(chunks, d["level"], refs, DOC)
    lists = sum(kind == LIST for kind, _ in chunks.values())
    print("%d chunks, %d of them lists" % (len(chunks), lists))


EXAMPLE_ID = "00000000-0000-4000-8000-000000000001"


def example(page):
    text = open(page).read()
    root = bytes([1] + [0] * 31)
    wanted = []
    for sealed in (False, True):
        keys = Keys(EXAMPLE_ID, root, sealed)
        tag = keys.tag("")
        name = name_of(keys.of(tag, "naming"), DATA, b"hello")
        own = bytes([2] + [0] * 31)
        salt = x25519_public(own) if sealed else bytes(32)
        key = keys.key("pack", tag, salt, x25519(own, keys.public)) if sealed else b""
        sizes = struct.pack(">BBHII", 1, 0, 0, 5, 5)
        seal = (lambda nonce, aad, p: gcm(key, nonce, aad, p, True)) if sealed else (lambda nonce, aad, p: p)
        chunk = seal(56, sizes + name, b"hello")
        trailer = seal(0xffffffff, b"", sizes + struct.pack(">I", 56) + name)
        pack = b"VBPK" + bytes([1, int(sealed), 0, 0]) + tag + salt + chunk + trailer
        pack += struct.pack(">II", 1, zlib.crc32(trailer)) + bytes([1, 0, 0, 0]) + b"KPBV"
        if sealed:
            assert keys.key("pack", tag, salt) == key, "both sides derive the same key"
            assert keys.open(key, 56, sizes + name, chunk) == b"hello"
            wanted += [keys.public.hex(), salt.hex(), key.hex(), chunk.hex(" ")]
        path = hashlib.sha256(pack).hexdigest()
        wanted += [tag.hex(), keys.of(tag, "naming").hex(), name.hex(), "%d bytes" % len(pack), "packs/%s/%s" % (path[:2], path)]
    for want in wanted:
        if "--print" in sys.argv:
            print(want)
        else:
            assert want in text, want


if sys.argv[1] == "--example":
    example(sys.argv[2])
else:
    main(*sys.argv[1:])
