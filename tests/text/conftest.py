"""Tokenisers of several kinds, trained on the spot."""

import pytest

from steersman.models.tiny import tiny_tokeniser

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def chatty():
    return tiny_tokeniser()


@pytest.fixture(scope="session")
def plain():
    return tiny_tokeniser(chat=False)


@pytest.fixture
def with_template():
    """A tokeniser with ChatML control tokens and the template given."""

    def make(template: str):
        tokeniser = tiny_tokeniser()
        tokeniser.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        tokeniser.chat_template = template
        return tokeniser

    make.chatml = CHATML  # type: ignore[attr-defined]
    return make
