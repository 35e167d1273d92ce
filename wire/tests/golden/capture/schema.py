"""Kafka's messages by the schemas inside kafka-clients.jar: encode from dicts, decode to dicts, every version.

Only used to capture golden bytes: an independent reading of the schemas, so that a frame captured here was not made by our codec.
"""

import json
import re
import struct
import zipfile


def versions(text, top=10**6):
    """'0-3', '2+', '5', 'none' -> a range."""
    if text in (None, "none"):
        return range(0)
    if text.endswith("+"):
        return range(int(text[:-1]), top)
    low, _, high = text.partition("-")
    return range(int(low), int(high or low) + 1)


class Writer:
    def __init__(self):
        self.out = bytearray()

    def pack(self, form, value):
        self.out += struct.pack(">" + form, value)

    def uvarint(self, value):
        while value >= 0x80:
            self.out.append(value & 0x7F | 0x80)
            value >>= 7
        self.out.append(value)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count < 0 or self.at + count > len(self.data):
            raise EOFError(f"{count} bytes at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def unpack(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))[0]

    def uvarint(self):
        shift = value = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


NUMBERS = {"int8": "b", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "float64": "d"}
ZERO_UUID = "00" * 16


class Message:
    """One schema: 'request' or 'response' of one API."""

    def __init__(self, schema):
        self.name = schema["name"]
        self.key = schema.get("apiKey")
        self.valid = versions(schema["validVersions"])
        self.flexible = versions(schema["flexibleVersions"])
        self.unstable = schema.get("latestVersionUnstable", False)
        self.fields = schema["fields"]
        self.structs = {s["name"]: s["fields"] for s in schema.get("commonStructs", [])}
        self._index(self.fields)
        for fields in list(self.structs.values()):
            self._index(fields)

    def _index(self, fields):
        for field in list(fields):
            field["name"] = field["name"][0].upper() + field["name"][1:]
            if "fields" in field:
                self.structs[field["type"].removeprefix("[]")] = field["fields"]
                self._index(field["fields"])

    def default(self, field, version):
        kind, default = field["type"], field.get("default")
        nullable = version in versions(field.get("nullableVersions"))
        if default == "null" and nullable:
            return None
        if kind.startswith("[]"):
            return []
        if kind == "bool":
            return default in (True, "true")
        if kind in NUMBERS:
            return float(default or 0) if kind == "float64" else int(str(default or 0), 0)
        if kind == "string":
            return default or ""
        if kind == "uuid":
            return ZERO_UUID
        if kind in ("bytes", "records"):
            return None if nullable else b""
        return {}

    # encode

    def encode(self, version, value=None):
        out = Writer()
        self._struct(out, self.fields, version, value or {})
        return bytes(out.out)

    def _struct(self, out, fields, version, value):
        value = {name[0].upper() + name[1:]: item for name, item in value.items()}
        unknown = set(value) - {f["name"] for f in fields}
        assert not unknown, f"{self.name}: no field {unknown}"
        tagged = []
        for field in fields:
            if version not in versions(field["versions"]):
                continue
            given = value.get(field["name"], self.default(field, version))
            if version in versions(field.get("taggedVersions")):
                if given != self.default(field, version):
                    tagged.append((field["tag"], field, given))
                continue
            self._value(out, field, field["type"], version, given)
        if version in self.flexible:
            out.uvarint(len(tagged))
            for tag, field, given in sorted(tagged, key=lambda t: t[0]):
                inner = Writer()
                self._value(inner, field, field["type"], version, given)
                out.uvarint(tag)
                out.uvarint(len(inner.out))
                out.out += inner.out

    def _value(self, out, field, kind, version, value):
        compact = version in versions(field["flexibleVersions"]) if "flexibleVersions" in field else version in self.flexible
        if kind.startswith("[]"):
            count = -1 if value is None else len(value)
            out.uvarint(count + 1) if compact else out.pack("i", count)
            for item in value or []:
                self._value(out, {**field, "nullableVersions": "none"}, kind[2:], version, item)
        elif kind == "bool":
            out.pack("b", int(value))
        elif kind in NUMBERS:
            out.pack(NUMBERS[kind], value)
        elif kind == "uuid":
            out.out += bytes.fromhex(value)
        elif kind in ("string", "bytes", "records"):
            data = value.encode() if isinstance(value, str) else value
            count = -1 if data is None else len(data)
            if compact:
                out.uvarint(count + 1)
            else:
                out.pack("h" if kind == "string" else "i", count)
            out.out += data or b""
        else:
            if version in versions(field.get("nullableVersions")):
                out.pack("b", -1 if value is None else 1)
                if value is None:
                    return
            self._struct(out, self.structs[kind], version, value)

    # decode

    def decode(self, version, data):
        """The message and the bytes left over."""
        reader = Reader(data)
        value = self._read_struct(reader, self.fields, version)
        return value, reader.data[reader.at :]

    def _read_struct(self, reader, fields, version):
        value = {}
        for field in fields:
            if version in versions(field["versions"]) and version not in versions(field.get("taggedVersions")):
                value[field["name"]] = self._read(reader, field, field["type"], version)
        if version in self.flexible:
            by_tag = {f["tag"]: f for f in fields if version in versions(f.get("taggedVersions"))}
            for _ in range(reader.uvarint()):
                tag, size = reader.uvarint(), reader.uvarint()
                data = reader.take(size)
                if tag in by_tag:
                    value[by_tag[tag]["name"]] = self._read(Reader(data), by_tag[tag], by_tag[tag]["type"], version)
                else:
                    value[f"tag{tag}"] = data
        return value

    def _read(self, reader, field, kind, version):
        compact = version in versions(field["flexibleVersions"]) if "flexibleVersions" in field else version in self.flexible
        if kind.startswith("[]"):
            count = reader.uvarint() - 1 if compact else reader.unpack("i")
            if count < 0:
                return None
            return [self._read(reader, {**field, "nullableVersions": "none"}, kind[2:], version) for _ in range(count)]
        if kind == "bool":
            return reader.unpack("b") != 0
        if kind in NUMBERS:
            return reader.unpack(NUMBERS[kind])
        if kind == "uuid":
            return reader.take(16).hex()
        if kind in ("string", "bytes", "records"):
            count = reader.uvarint() - 1 if compact else reader.unpack("h" if kind == "string" else "i")
            if count < 0:
                return None
            data = reader.take(count)
            return data.decode() if kind == "string" else data
        if version in versions(field.get("nullableVersions")) and reader.unpack("b") < 0:
            return None
        return self._read_struct(reader, self.structs[kind], version)


class Schemas:
    """All APIs of a kafka-clients jar: requests and responses by key, names by key."""

    def __init__(self, jar):
        self.requests, self.responses, self.names, self.headers = {}, {}, {}, {}
        with zipfile.ZipFile(jar) as archive:
            for path in archive.namelist():
                if not re.fullmatch(r"common/message/\w+\.json", path):
                    continue
                text = re.sub(r"(?m)^\s*//.*$", "", archive.read(path).decode())
                schema = json.loads(text)
                if schema["type"] == "header":
                    self.headers[schema["name"]] = Message(schema)
                if schema["type"] not in ("request", "response") or schema["validVersions"] == "none":
                    continue
                by_key = self.requests if schema["type"] == "request" else self.responses
                by_key[schema["apiKey"]] = Message(schema)
                if schema["type"] == "request":
                    self.names[schema["apiKey"]] = schema["name"].removesuffix("Request")

    def key(self, name):
        return next(k for k, v in self.names.items() if v == name)

    def request_frame(self, key, version, correlation, value, client_id="golden"):
        """A whole request without the length before it."""
        request = self.requests[key]
        header = 2 if version in request.flexible else 1
        fields = {"RequestApiKey": key, "RequestApiVersion": version, "CorrelationId": correlation, "ClientId": client_id}
        return self.headers["RequestHeader"].encode(header, fields) + request.encode(version, value)

    def decode_response(self, key, version, frame):
        """The response of a frame without its length: header tags included when it has them."""
        response = self.responses[key]
        at = 4
        if version in response.flexible and key != 18:
            assert frame[4] == 0, "tagged fields in a response header"
            at = 5
        value, left = response.decode(version, frame[at:])
        assert not left, f"{self.names[key]} v{version}: {len(left)} bytes left"
        return value

    def decode_request(self, frame):
        """Key, version and the request of a frame without its length."""
        key, version = struct.unpack(">hh", frame[:4])
        request = self.requests[key]
        header, rest = self.headers["RequestHeader"].decode(2 if version in request.flexible else 1, frame)
        value, left = request.decode(version, rest)
        assert not left, f"{self.names[key]} v{version}: {len(left)} bytes left"
        return key, version, value
