"""A reward function for verl that asks a server of ours; copy this file to where verl runs. It needs requests alone.

    python -m verl.trainer.main_ppo custom_reward_function.path=verl_reward.py \
      custom_reward_function.name=compute_score \
      +custom_reward_function.reward_kwargs.url=http://HOST:8100/score ...

verl gives a reward function the response's text and the row's extra_info, but no prompt: the data needs it there,
under `prompt_key`, as messages or as text.
"""

import requests

SESSION = requests.Session()


def compute_score(
    data_source,
    solution_str,
    ground_truth,
    extra_info=None,
    url="http://127.0.0.1:8100/score",
    prompt_key="prompt",
    **_,
):
    """verl's interface: the reward of one response.

    Raises:
        ValueError: the row has no prompt.
        requests.RequestException: the server cannot be reached, or refuses the row.
    """
    prompt = (extra_info or {}).get(prompt_key)
    if prompt is None:
        raise ValueError(f"extra_info has no {prompt_key!r}: put the prompt there when you make the data.")
    messages = [dict(message) for message in prompt] if not isinstance(prompt, str) else None
    response = solution_str if messages is None else [{"role": "assistant", "content": solution_str}]
    columns = {"solution": [ground_truth], "answer": [ground_truth]}
    body = {"prompts": [messages or prompt], "responses": [response], "columns": columns}
    answer = SESSION.post(url, json=body, timeout=600)
    if answer.status_code == 422:
        raise ValueError(f"{url} refuses the row: {answer.json()['detail']}")
    answer.raise_for_status()
    return answer.json()["rewards"][0]
