"""Whether an app is fit for production: numbered checks over facts, a maturity level, and what to do next."""
