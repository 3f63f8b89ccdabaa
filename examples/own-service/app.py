"""A service of your own that sorts customer messages. Shipway starts it and needs PORT and /healthz, nothing else."""

import os
import re

from flask import Flask, jsonify, request

# The first label with a word in the message wins; edit a line, and the release is another one.
WORDS = {
    "refund": {"refund", "money", "return", "broken"},
    "order": {"order", "parcel", "delivery", "arrived", "tracking"},
    "account": {"account", "password", "login", "email"},
}
ORDERS = {"10042": "on its way", "10043": "delivered"}

app = Flask(__name__)


def release() -> str:
    """Return the release of this request: Shipway's header, else the one that the process was started for."""
    return request.headers.get("X-Shipway-Release") or os.environ.get("SHIPWAY_RELEASE", "unreleased")


def label_of(text: str) -> str:
    words = set(re.findall(r"[a-z]+", text.lower()))
    return next((label for label, known in WORDS.items() if words & known), "other")


@app.get("/")
def about():
    return jsonify(service="message classifier", labels=[*WORDS, "other"], release=release())


@app.get("/healthz")
def healthz():
    return jsonify(status="ok", release=release())


@app.post("/classify")
def classify():
    body = request.get_json(silent=True)
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        return jsonify(error='send JSON with a text, such as {"text": "Where is my order?"}', release=release()), 400
    return jsonify(label=label_of(text), release=release())


@app.get("/orders/<number>")
def order(number: str):
    if number not in ORDERS:
        return jsonify(error=f"no order {number}", release=release()), 404
    return jsonify(order=number, status=ORDERS[number], release=release())


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
