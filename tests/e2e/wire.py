"""What the end-to-end test needs of Kafka and of the wire, by plain tools: kcat and a small msgpack."""
import json
import struct
import subprocess


def pack(value):
    """The msgpack of null, booleans, integers, floats, strings, lists and maps."""
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">Bq", 0xD3, value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, str):
        data = value.encode()
        return struct.pack(">BI", 0xDB, len(data)) + data
    if isinstance(value, list):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    return struct.pack(">BI", 0xDF, len(value)) + b"".join(pack(k) + pack(v) for k, v in value.items())


def unpack(data):
    value, rest = unpack_one(data)
    if rest:
        raise ValueError("bytes behind the msgpack value")
    return value


SIZED = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}
FIXED = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}


def unpack_one(data):
    tag, rest = data[0], data[1:]
    if tag < 0x80 or tag >= 0xE0:
        return (tag if tag < 0x80 else tag - 256), rest
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], rest
    if tag in FIXED:
        n = struct.calcsize(FIXED[tag])
        return struct.unpack(FIXED[tag], rest[:n])[0], rest[n:]
    if tag in SIZED:
        width = struct.calcsize(SIZED[tag])
        n, rest = struct.unpack(SIZED[tag], rest[:width])[0], rest[width:]
        kind = "str" if tag in (0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB) else "list" if tag in (0xDC, 0xDD) else "map"
    else:
        kind = "map" if tag < 0x90 else "list" if tag < 0xA0 else "str"
        n = tag & (0x1F if kind == "str" else 0x0F)
    if kind == "str":
        return rest[:n].decode(), rest[n:]
    items = []
    for _ in range(n if kind == "list" else 2 * n):
        item, rest = unpack_one(rest)
        items.append(item)
    return (items if kind == "list" else dict(zip(items[::2], items[1::2]))), rest


def decode(data):
    return json.loads(data) if data[:1] == b"{" else unpack(data)


class Record:
    def __init__(self, partition, offset, timestamp, headers, key, value):
        self.partition, self.offset, self.timestamp = partition, offset, timestamp
        self.headers, self.key, self.value = headers, key, value


class Kafka:
    def __init__(self, bootstrap, work):
        self.bootstrap, self.work, self.files = bootstrap, work, 0

    def read(self, topic):
        """Every record of a topic, in each partition's order."""
        raw = subprocess.run(
            ["kcat", "-C", "-q", "-e", "-b", self.bootstrap, "-t", topic, "-o", "beginning", "-X", "fetch.wait.max.ms=50",
             "-f", "%p %o %T %K %S\n%h\n%k%s\n"], stdout=subprocess.PIPE, check=True).stdout
        records, at = [], 0
        while at < len(raw):
            line = raw.index(b"\n", at)
            partition, offset, timestamp, n_key, n_value = map(int, raw[at:line].split())
            at = line + 1
            line = raw.index(b"\n", at)
            headers = dict(h.split("=", 1) for h in raw[at:line].decode(errors="replace").split(",") if "=" in h)
            at = line + 1
            key = raw[at:at + n_key] if n_key >= 0 else None
            at += max(n_key, 0)
            value = raw[at:at + n_value] if n_value >= 0 else None
            at += max(n_value, 0) + 1
            records.append(Record(partition, offset, timestamp, headers, key, value))
        return records

    def send_lines(self, topic, pairs):
        """Records (key, JSON text): one line each."""
        text = "".join("%s\t%s\n" % pair for pair in pairs)
        subprocess.run(["kcat", "-P", "-b", self.bootstrap, "-t", topic, "-K", "\t", "-X", "partitioner=murmur2_random",
                        "-X", "enable.idempotence=true"],
                       input=text.encode(), check=True)

    def send_bytes(self, topic, values, partition=-1, key=None, headers=()):
        """Records of any bytes, all with one key: a file each."""
        names = []
        for value in values:
            self.files += 1
            names.append("%s/record-%d" % (self.work, self.files))
            with open(names[-1], "wb") as file:
                file.write(value)
        command = ["kcat", "-P", "-b", self.bootstrap, "-t", topic, "-p", str(partition), "-X", "message.max.bytes=4000000"]
        command += ["-k", key] if key else []
        for header in headers:
            command += ["-H", header]
        subprocess.run(command + names, check=True)

    def send_no_value(self, topic, key):
        subprocess.run(["kcat", "-P", "-b", self.bootstrap, "-t", topic, "-K", "\t", "-Z"], input=(key + "\t\n").encode(), check=True)
