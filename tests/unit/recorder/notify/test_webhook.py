"""The signature of Standard Webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac

from services.recorder.notify.file import signing_key
from services.recorder.notify.webhook import signature


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # the example of the specification's own verification libraries
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    said = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_without_prefix_is_taken_as_it_is() -> None:
    wanted = hmac.new(b"a plain secret text", b"id.1.{}", hashlib.sha256).digest()
    said = signature(signing_key("a plain secret text"), "id", "1", b"{}")
    assert said == "v1," + base64.b64encode(wanted).decode()
