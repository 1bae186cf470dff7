"""Clients of a service, run inside the booted Debian: prints how many requests failed, and which certificates answered.

python3 systemd_load.py PORT KEY_FILE SECONDS
"""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import sys
import threading
import time

ROW = json.dumps([[0.1, 0.2, 0.3, 0.4]])


def main(port: int, key_file: str, seconds: float) -> None:
    with open(key_file) as file:
        key = file.read().strip()
    context = ssl._create_unverified_context()
    until_s = time.monotonic() + seconds
    certificates: set[str] = set()
    failures: list[str] = []
    answered: list[int] = []

    def ask(keep_alive: bool) -> None:
        client = None
        while time.monotonic() < until_s:
            try:
                if client is None:
                    client = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
                    client.connect()
                    shown = client.sock.getpeercert(True)
                    assert isinstance(shown, bytes)
                    certificates.add(hashlib.sha256(shown).hexdigest())
                client.request("POST", "/predict", ROW, {"X-API-Key": key})
                reply = client.getresponse()
                reply.read()
                if reply.status == 200:
                    answered.append(reply.status)
                else:
                    failures.append(str(reply.status))
                if not keep_alive:
                    client.close()
                    client = None
            except (OSError, http.client.HTTPException) as err:
                failures.append(repr(err))
                client = None

    threads = [threading.Thread(target=ask, args=(keep_alive,)) for keep_alive in (True, False, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"answered": len(answered), "failures": failures, "certificates": sorted(certificates)}))


main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
