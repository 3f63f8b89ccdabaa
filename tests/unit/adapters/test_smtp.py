import socket
import threading

import pytest

from shipway.adapters.smtp.sender import MailServer
from shipway.core.errors import UnavailableError, UsageError

pytestmark = pytest.mark.anyio


@pytest.fixture
def server():
    """Return the address of a mail server that takes one mail, and the lines that it was told."""
    lines: list[str] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listening.accept()
        with connection, connection.makefile("rw", newline="\r\n") as stream:
            stream.write("220 ready\n")
            stream.flush()
            body = False
            for raw in stream:
                line = raw.rstrip("\r\n")
                lines.append(line)
                if body:
                    body = line != "."
                    answer = "" if body else "250 taken"
                elif line.upper() == "DATA":
                    body, answer = True, "354 go on"
                elif line.upper().startswith("AUTH"):
                    answer = f"535 wrong: {line}"
                else:
                    answer = (
                        "221 bye"
                        if line.upper() == "QUIT"
                        else "250-x\n250 AUTH PLAIN"
                        if "EHLO" in line.upper()
                        else "250 ok"
                    )
                if answer:
                    stream.write(answer + "\n")
                    stream.flush()
                if answer.startswith("221"):
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listening.getsockname()[1]}", lines
    listening.close()
    thread.join(5)


async def test_a_mail_is_handed_in(server):
    address, lines = server
    await MailServer(address, "none").send(
        "ci@a.test", ["x@a.test", "y@a.test"], "shop: PASS ✅", "all is well\n.hidden\n"
    )
    assert "RCPT TO:<y@a.test>" in [line.partition(" SIZE")[0] for line in lines] or any(
        "y@a.test" in line for line in lines
    )
    assert any(line.startswith("Subject: ") for line in lines)
    assert "all is well" in lines


async def test_a_password_is_not_repeated_when_the_server_refuses_it(server):
    address, _ = server
    mail = MailServer(address, "none", "user", "very-secret")
    with pytest.raises(UnavailableError) as refused:
        await mail.send("ci@a.test", ["x@a.test"], "s", "t")
    assert "very-secret" not in str(refused.value)
    assert "very-secret" not in repr(mail)


async def test_a_subject_with_a_line_end_is_refused():
    with pytest.raises(UsageError, match="mail cannot be written"):
        await MailServer("127.0.0.1:1", "none").send("ci@a.test", ["x@a.test"], "a\nBcc: z@a.test", "t")


async def test_a_server_that_is_not_there_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UnavailableError, match=f"mail server 127.0.0.1:{port}"):
        await MailServer(f"127.0.0.1:{port}", "none").send("ci@a.test", ["x@a.test"], "s", "t")


async def test_a_server_without_encryption_gets_nothing_when_encryption_is_wanted(server):
    address, lines = server
    with pytest.raises(UnavailableError):
        await MailServer(address, "starttls").send("ci@a.test", ["x@a.test"], "s", "t")
    assert not any(line.upper().startswith("MAIL") for line in lines)
