"""The chat template of a tokeniser that has none."""

from steersman.text.tokeniser import Tokeniser

# Our chat template, for a tokeniser without one: "Human:" and "Assistant:" turns as in hh-rlhf, EOS after each answer.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + (eos_token or '') + '\n\n' }}"
    "{% elif message['role'] == 'tool' %}{{ 'Tool: ' + message['content'] + '\n\n' }}"
    "{% else %}{{ 'Human: ' + message['content'] + '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def give_template(tokeniser: Tokeniser) -> bool:
    """Give a tokeniser without a chat template ours, which is saved with the model. False if it has one."""
    if tokeniser.chat_template:
        return False
    tokeniser.chat_template = PLAIN_TEMPLATE
    return True
