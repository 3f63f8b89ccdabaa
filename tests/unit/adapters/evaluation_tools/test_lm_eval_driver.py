import pytest

from shipway.adapters.evaluation_tools.lm_eval_driver import NoLikelihoodError, likelihood

TEXT = "Who pays? You pay"


def reply(text=TEXT + " and", **more):
    logprobs = {
        "tokens": ["Who", " pays?", " You", " pay", " and"],
        "token_logprobs": [None, -1.0, -0.5, -0.25, -9.0],
        "text_offset": [0, 3, 9, 13, 17],
        "top_logprobs": [None, {"x": -0.1}, {" You": -0.5}, {" pay": -0.25}, {"x": -0.1}],
        **more,
    }
    return {"choices": [{"text": text, "logprobs": logprobs}]}


@pytest.mark.parametrize(("context", "continuation"), [("Who pays?", " You pay"), ("Who pays? ", "You pay")])
def test_the_tokens_after_the_context_count_and_what_is_generated_does_not(context, continuation):
    assert likelihood(reply(), context, continuation) == (-0.75, True)


def test_a_token_over_the_border_counts_to_the_continuation():
    assert likelihood(reply(), "Who pays? Y", "ou pay") == (-0.75, True)


def test_what_the_model_would_not_have_written_is_not_greedy():
    assert likelihood(reply(), "Who", " pays? You pay") == (-1.75, False)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "no completion"),
        ({"choices": [{"text": " and", "logprobs": {}}]}, "does not repeat the prompt"),
        ({"choices": [{"text": TEXT, "logprobs": None}]}, "tells no token_logprobs"),
        ({"choices": [{"text": TEXT, "logprobs": {"content": []}}]}, "tells no token_logprobs"),
        (reply(text_offset=None), "does not tell the text_offset"),
        (reply(text_offset=[0, 3]), "does not tell the text_offset"),
        (reply(text_offset=[17, 17, 17, 17, 17]), "names no token of the continuation"),
    ],
)
def test_a_reply_that_does_not_tell_it_is_refused_with_what_is_missing(told, said):
    with pytest.raises(NoLikelihoodError, match=said):
        likelihood(told, "Who pays?", " You pay")


def test_the_first_token_has_no_likelihood():
    with pytest.raises(NoLikelihoodError, match="doc_to_text must not be empty"):
        likelihood(reply(), "", TEXT)
