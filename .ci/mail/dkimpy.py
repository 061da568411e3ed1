"""Mails in a folder, verified by dkimpy against the records in zone.json."""

import glob
import json
import os
import sys

import dkim

folder = sys.argv[1]
with open(os.path.join(folder, "zone.json"), encoding="ascii") as file:
    zone = json.load(file)


def txt(name, timeout=5):
    text = zone.get(name.decode("ascii").rstrip("."))
    return text.encode("ascii") if text else None


mails = sorted(glob.glob(os.path.join(folder, "*.eml")))
assert mails
for path in mails:
    with open(path, "rb") as file:
        mail = file.read()
    eves = mail.replace(b"\r\nSubject:", b"\r\nSubject: Eve", 1)
    assert eves != mail
    kinds = set()
    for i in range(2):
        one = dkim.DKIM(mail)
        assert one.verify(idx=i, dnsfunc=txt), (path, i)
        kinds.add(bytes(one.signature_fields[b"a"]))
        assert not dkim.DKIM(eves).verify(idx=i, dnsfunc=txt), (path, i)
    assert kinds == {b"rsa-sha256", b"ed25519-sha256"}, kinds
print(f"dkimpy: {len(mails)} mails, two signatures each")
