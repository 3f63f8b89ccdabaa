"""Sends one mail; the stage `notify` calls it."""

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Literal

import anyio.to_thread

from shipway.core.errors import UnavailableError, UsageError

_PORTS = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in; `address` is a host, or host:port."""

    address: str
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 20.0

    async def send(self, sender: str, recipients: Sequence[str], subject: str, text: str) -> None:
        """Hand in a mail.

        Raises:
            UsageError: an address or the subject cannot stand in a mail.
            UnavailableError: the server cannot be reached or refuses it; asking again may help.
        """
        message = EmailMessage()
        try:
            message["From"], message["To"], message["Subject"] = sender, ", ".join(recipients), subject
        except ValueError as error:
            raise UsageError(f"mail cannot be written: {error}") from error
        message.set_content(text)
        await anyio.to_thread.run_sync(self._send, message)

    def _send(self, message: EmailMessage) -> None:
        host, _, port = self.address.partition(":")
        number = int(port) if port.isdecimal() else _PORTS[self.encryption]
        try:
            with self._connected(host, number) as server:
                if self.encryption == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if self.user:
                    server.login(self.user, self.password)
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            # What a server says may repeat what it was told.
            said = str(error).replace(self.password, "[secret]") if self.password else str(error)
            raise UnavailableError(f"mail server {host}:{number}: {said or type(error).__name__}") from None

    def _connected(self, host: str, port: int) -> smtplib.SMTP:
        if self.encryption == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=self.timeout_s, context=ssl.create_default_context())
        return smtplib.SMTP(host, port, timeout=self.timeout_s)
