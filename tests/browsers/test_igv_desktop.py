"""The session in IGV on the desktop: the real program, without a network, draws it as it says."""

import os
import shutil
import signal
import subprocess

import pytest
from session_tracks import BASES, assert_on_one_scale, write_folder
from toy import write_fasta

IGV, XVFB = shutil.which("igv"), shutil.which("Xvfb")
pytestmark = pytest.mark.skipif(not (IGV and XVFB), reason="no igv, or no Xvfb")
NOWHERE = [f"-D{scheme}.proxy{key}" for scheme in ("http", "https") for key in ("Host=127.0.0.1", "Port=9")]
PREFERENCES = "PORT_ENABLED=false\nSHOW_ATTRIBUTE_VIEWS_KEY=false\n"
WAIT = 120  # seconds: the machine may be busy


@pytest.fixture
def display():
    """A screen of its own."""
    readable, writable = os.pipe()
    screen = [XVFB, "-displayfd", str(writable), "-screen", "0", "1200x800x24", "-nolisten", "tcp"]
    with subprocess.Popen(screen, pass_fds=[writable], stderr=subprocess.DEVNULL) as server:
        os.close(writable)
        with os.fdopen(readable) as pipe:
            yield f":{pipe.readline().strip()}"
        server.terminate()


def run(command, environment):
    """What a program says until it ends; it and what it started are ended after `WAIT`."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    with subprocess.Popen(command, env=environment, **how) as started:
        try:
            return started.communicate(timeout=WAIT)[0]
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            return started.communicate()[0]


def test_igv_draws_the_session(tmp_path, display):
    desktop, _ = write_folder(tmp_path)
    user = tmp_path / "user"
    user.mkdir()
    (user / "prefs.properties").write_text(PREFERENCES)
    other = write_fasta(tmp_path / "other.fa", other="ACGT" * 100)  # IGV begins with a genome: not the session's
    commands = [
        f"genome {other}",
        f"snapshotDirectory {tmp_path}",
        f'load "{desktop}"',
        "snapshot near.png",
        f"goto chr1:1-{BASES}",
        "snapshot far.png",
        "exit",
    ]
    (tmp_path / "batch.txt").write_text("\n".join(commands) + "\n")
    java = " ".join(["-Xmx1g", f"-Duser.home={user}", *NOWHERE])
    environment = {**os.environ, "DISPLAY": display, "JAVA_TOOL_OPTIONS": java, "HOME": str(user)}
    log = run([IGV, "--igvDirectory", user, "-b", tmp_path / "batch.txt"], environment)
    assert (tmp_path / "far.png").is_file(), log
    assert_on_one_scale(tmp_path / "near.png")
    assert_on_one_scale(tmp_path / "far.png")
    assert f"Loading genome: {tmp_path / 'toy.fa'}" in log
    assert "sites.bed" in log
