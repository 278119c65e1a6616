"""Asks a web server for a page at a steady rate: `python _ask.py HOST:PORT PATH SESSION RATE SECONDS`.

Each question has its time, whether those before it are answered or not, and its answer counts from that time on.
Standard library only: it is a process of its own beside what it measures.
"""

from __future__ import annotations

import http.client
import queue
import sys
import threading
import time

CONNECTIONS = 64


def reaches(address: str) -> bool:
    """Whether anybody serves there."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def main() -> None:
    address, path, session, rate, seconds = (
        sys.argv[1],
        sys.argv[2],
        sys.argv[3],
        float(sys.argv[4]),
        float(sys.argv[5]),
    )
    due: queue.Queue[float] = queue.Queue()
    took: list[float] = []
    wrong: list[str] = []

    def ask() -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        while (at := due.get()) > 0:
            try:
                connection.request("GET", path, headers={"Cookie": f"sessionid={session}"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    wrong.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                wrong.append(type(error).__name__)
                connection.close()
            took.append(time.monotonic() - at)

    threads = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    count = int(rate * seconds)
    for number in range(count):
        at = began + number / rate
        time.sleep(max(0.0, at - time.monotonic()))
        due.put(at)
    for _ in threads:
        due.put(0.0)
    for thread in threads:
        thread.join()
    took.sort()
    per_second = count / (time.monotonic() - began)
    share = {name: took[min(len(took) - 1, int(len(took) * of))] * 1000 for name, of in (("p50", 0.5), ("p99", 0.99))}
    print(
        f"{per_second:.0f} requests a second, median {share['p50']:.0f} ms, p99 {share['p99']:.0f} ms, at most "
        f"{took[-1] * 1000:.0f} ms, {len(wrong)} errors{': ' + ', '.join(sorted(set(wrong))) if wrong else ''}"
    )


if __name__ == "__main__":
    main()
