#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads a repository with nothing but vbackup-repository(5), and extracts its newest backup.

    decode_by_hand.py REPOSITORY TARGET      extracts
    decode_by_hand.py --example PAGE         recomputes the worked example and finds it in the man page

No line here is taken from the program: whoever changes the format must change the page and this file, too.
"""
import hashlib, hmac, json, os, re, struct, sys, zlib

DATA, TREE, LIST, DOC = 1, 2, 3, 4


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


def check_config(config):
    assert config["vbackup"] == "repository" and config["format_version"] == 0 and config["encryption"] == "none"
    rest = {k: v for k, v in config.items() if k != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == config["checksum"]
    return bytes.fromhex(config["naming_key"])


def read_pack(path, key, chunks):
    data = open(path, "rb").read()
    assert hashlib.sha256(data).hexdigest() == os.path.basename(path)
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


def read_index(path, chunks):
    data = open(path, "rb").read()
    assert hashlib.sha256(data).hexdigest() == os.path.basename(path) and data[:8] == b"VBIX" + bytes(4)
    r, told = Reader(data), 0
    r.take(8)
    while r.at < len(data):
        r.take(32 + 8)
        for _ in range(r.num(4)):
            r.take(16)
            assert r.take(32) in chunks
            told += 1
    return told


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


def main(repo, target):
    key, chunks, counted = check_config(json.load(open(os.path.join(repo, "config")))), {}, 0
    for d, _, names in os.walk(os.path.join(repo, "packs")):
        for n in names:
            counted += read_pack(os.path.join(d, n), key, chunks)
    told = sum(read_index(os.path.join(repo, "index", n), chunks) for n in os.listdir(os.path.join(repo, "index")))
    assert told == counted == len(chunks)
    newest = sorted(os.listdir(os.path.join(repo, "catalog")))[-1]
    data = open(os.path.join(repo, "catalog", newest), "rb").read()
    backup = json.loads(data)
    assert backup["vbackup"] == "backup" and backup["format_version"] == 0
    assert newest == "%010d-%s-%s" % (backup["sequence"], backup["id"], hashlib.sha256(data).hexdigest())
    os.mkdir(target)
    for host in backup["hosts"]:
        for component in host["components"]:
            for root in component["roots"]:
                extract(chunks, bytes.fromhex(root["tree"]), target)
    for d in backup["documents"]:
        refs = [(bytes.fromhex(c["name"]), c["size"]) for c in d["content"]]
        assert b"<event number='39' seed='1'/>" in content_bytes(chunks, d["level"], refs, DOC)
    lists = sum(kind == LIST for kind, _ in chunks.values())
    print("%d chunks, %d of them lists" % (len(chunks), lists))
    assert lists > 0, "the sample is too small to show lists"


def example(page):
    text = open(page).read()
    sizes = struct.pack(">BBHII", 1, 0, 0, 5, 5)
    name = name_of(bytes([1] + [0] * 31), DATA, b"hello")
    crc = struct.pack(">I", zlib.crc32(sizes + name))
    trailer = sizes + struct.pack(">I", 56) + name
    pack = b"VBPK" + bytes(4) + sizes + crc + name + b"hello" + trailer
    pack += struct.pack(">II", 1, zlib.crc32(trailer)) + bytes(4) + b"KPBV"
    path = hashlib.sha256(pack).hexdigest()
    for want in (name.hex(), crc.hex(" "), "packs/%s/%s" % (path[:2], path), "It has %d bytes" % len(pack)):
        assert re.search(re.escape(want), text), want


if sys.argv[1] == "--example":
    example(sys.argv[2])
else:
    main(sys.argv[1], sys.argv[2])
