"""A page server that runs while a test asks it."""

import contextlib
import threading

from sae_tracks.report.serve import PageServer


@contextlib.contextmanager
def serving(site):
    with PageServer(site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
