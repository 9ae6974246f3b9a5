"""PPO with the endogenous reward: a language model improves itself with the reward inside its own frozen copy.

    accelerate launch train/ppo_endorm.py --config configs/demo/ppo.yaml
    accelerate launch train/ppo_endorm.py --config configs/math/ppo_qwen2.5_math_7b.yaml --learning_rate 5e-7

Every field of the recipe can be given on the command line; --help lists them.
"""

import logging

from trl import ModelConfig, get_peft_config, get_quantization_config

from train.launcher import check_launcher, start_process_group
from train.ppo_trainer import PPOConfig, PPOTrainer
from train.prompts import DataArguments, load_heldout, load_prompts
from train.recipe import (
    RewardArguments,
    build_rewards,
    check_positions,
    checkpoint_to_resume,
    finish,
    load_tokenizer,
    model_init_kwargs,
    parse_recipe,
    use_console,
)
from train.reward_mix import add_watched
from train.tracking import RunFolder, TrackingArguments
from train.watches import WatchArguments, Watches


def main() -> None:
    types = (PPOConfig, ModelConfig, DataArguments, RewardArguments, TrackingArguments, WatchArguments)
    args, model, data, reward, tracking, watch = parse_recipe(*types)
    logging.basicConfig(level=logging.INFO if args.process_index == 0 else logging.ERROR)
    tracking.set_environment()
    start_process_group()
    args.model_init_kwargs = model_init_kwargs(model)
    tokenizer = load_tokenizer(model, reward.eos_token, args.trust_remote_code)
    dataset, counts = load_prompts(data, tokenizer)
    heldout = load_heldout(data, tokenizer)
    rewards = build_rewards(reward)
    if heldout is None:
        args.eval_strategy = "no"
    else:
        rewards, args.reward_weights = add_watched(rewards, args.metric_for_best_model, args.reward_weights)
    trainer = PPOTrainer(
        model=model.model_name_or_path,
        reward_funcs=rewards,
        args=args,
        frozen_base=reward.frozen_base,
        frozen_dtype=reward.frozen_dtype,
        batch_tokens=reward.frozen_batch_tokens,
        train_dataset=dataset,
        eval_dataset=heldout,
        processing_class=tokenizer,
        peft_config=get_peft_config(model),
        quantization_config=get_quantization_config(model),
    )
    check_positions(trainer, counts["longest_prompt"])
    check_launcher(trainer.accelerator)
    use_console(trainer)
    trainer.add_callback(RunFolder(trainer, model, data, reward, tracking, watch))
    trainer.add_callback(Watches(trainer, watch))
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(args))
    finish(trainer)


if __name__ == "__main__":
    main()
