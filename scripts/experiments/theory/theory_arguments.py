"""The arguments behind `theory.md`, in Markdown: what is derived, where the report's numbers only confirm."""

ARGUMENTS = {
    "setting": r"""pi_E maximises E sum r* + alpha * entropy over token MDPs whose transitions are certain; pi_hat
is any policy with |log pi_E - log pi_hat| <= eps at every prefix; r^ is the endogenous reward of logits Q of pi_hat.
V^pi is the expected sum of r*, **entropy not counted**, unless said. R is the range of r* per token, P a distribution
over whole responses. *Hard RL* is the argmax of the expected sum of r^, *soft RL* also pays alpha * entropy. Worst
cases are exact, over every pi_hat within eps.""",
    "eq. 12": r"""V is alpha times the log-normaliser of Q, so Q = alpha log pi_hat + V, and r^ = Q - V' is a
log-probability and a difference of potentials. Sums telescope. The same for r* and pi_E, soft-optimal for it:
r*(x) = alpha log P_E(x) + V*(s_1). Condition: V after the end is a constant. (A response that is cut off and
bootstrapped keeps the V of its last state in the sum.)""",
    "Theorem 1": r"""The margins of r* and r^ between two responses differ by at most d = 2 alpha H eps: H
log-ratios on either side. The sigmoid rises by at most d / 4, and by at most tanh(d / 4) = tanh(alpha H eps / 2).
Tokens that both responses share cancel, so H counts from where they part. Tight for small alpha H eps and margins
near 0; vacuous above alpha H eps = 2, where the tanh is not.""",
    "Theorem 2, imitator": r"""A token's total variation is at most tanh(eps / 2), and with h tokens to go at most
h R is at stake: the performance difference gives R H (H + 1) / 2 * tanh(eps / 2), the paper's H^2 eps with its
constant. But eps bounds log-*ratios*: a token's KL(pi_E || pi_hat) is at most eps tanh(eps / 2) <= eps^2 / 2, KLs add
to H eps^2 / 2, Pinsker gives sqrt(H) eps / 2 for the total variation of whole responses, which range over H R. So **V
gap <= R H^1.5 eps / 2, at every eps**. The likelihood ratio of a response is a product of H factors with mean 1, whose
errors partly cancel as in a random walk: it moves by sqrt(H) eps, not by H eps. Where only the outcome pays, responses
range over R in place of H R, and the gap is at most R sqrt(H) eps / 2.

The exponent is reached. *Majority*: H/2 free tokens, then H/2 steps that pay 1 if more than half were ones. The
imitator tilts the vote by sqrt(H) eps, and H/2 hang on it, provided the expert leaves the vote open: with alpha =
H it does, with alpha = 1 it votes for certain. *Matched majority*: the losing side gets in entropy what the
winning side gets in reward, alpha (log 2 - entropy(p)) a step. The expert is then indifferent in the vote at
*every* alpha, with a reward range that does not grow, and loses to the tilt in the plain value. For fixed eps and
growing H the vote is decided, and the gap is R H times a constant.""",
    "Theorem 2, hard RL": r"""r^ of a response is alpha log P_hat plus a constant, so hard RL returns the
likeliest response m of pi_hat: what a beam search of any width would find, not greedy decoding. Against the best
response y: alpha log P_E and alpha log P_hat are within alpha H eps on y and on m, and P_hat prefers m, hence 2 alpha
H eps. Against the expert: log P_E(m) >= log P_hat(m) - H eps >= E_E log P_hat - H eps = E_E log P_E - KL(P_E ||
P_hat) - H eps; times alpha this is **V^{pi_E} - V(m) <= alpha H eps (1 + tanh(eps / 2))**. No reward range enters,
but alpha does: with alpha = H and rewards below 1 the gap grows as H^2.

Also V(best) - V^{pi_E} = alpha (entropy of P_E - its min-entropy) =: alpha D. So hard RL is never below the expert
where D >= 2 H eps, in particular at eps = 0, for pi_E is only soft-optimal. It is below where a good branch is
spread over many equal responses (D small) and a bad one has a response that can be raised by eps at each step:
*two branches*. *Two paths* attains 2 alpha H eps.""",
    "Readings of Theorem 2": r"""Soft RL at alpha returns pi_hat, for r^ differs from alpha log pi_hat by shaping:
then Theorem 2's second half says of pi_hat what its first half denies. With the entropy counted, V_soft^{pi_E} -
V_soft^{pi} = alpha KL(P_pi || P_E): for pi_hat at most alpha H eps tanh(eps / 2), linear in H, *quadratic* in eps,
attained by swapping odds of 1 : e^eps; for the hard argmax -alpha log P_E(m), which eps = 0 does not make small. So
the linear bound is one of hard RL in the plain value, or of soft RL in the soft value.""",
    "Section 3.3": r"""Soft RL at temperature t returns P_hat^(alpha / t); its logits at t give alpha log P_hat,
r^ up to shaping. That holds for every t > 0, and only if the reward is extracted at the t of the RL. The limit t = 0
has no logits: a policy of zeros and ones keeps one response, no order of the others. With a KL penalty b to pi_hat
the policy is P_hat^(1 + alpha / b), and at alpha its reward is (1 + alpha / b) r^ up to shaping: the same order,
sharper preferences. A second round against the new base sharpens again, to the power (1 + alpha / b)^2. Only the
argmax is where it was, so "no gain from a second round" is a statement about the argmax, not about RL with a KL
penalty stopped short of it.""",
    "KL penalty, discount 1": r"""J(pi) = E_pi [alpha log P_hat - b log (P_pi / P_hat)] + constant = constant - b
KL(P_pi || P*), with P* = P_hat^(1 + alpha / b) / Z. Z sums whole responses: a token's probability is pi_hat^(1 +
alpha / b) times the Z of what can follow, so low-temperature sampling of tokens is not the optimum. Condition: the
same frozen pi_hat in reward and KL, all responses ended.""",
    "KL penalty, discount below 1": r"""If only the reward is weighted, w_h = max(discount^h, floor) and the KL is
not: summation by parts gives P* ~ prod_h pi_hat(a_h)^(1 + alpha w_h / b) * exp(-(w_{h-1} - w_h) V(s_h) / b). The
power falls from 1 + alpha / b to 1 + alpha floor / b, and prefixes of high V are punished; V is an offset that
next-token prediction leaves free. The log-prob form has the powers only. If reward and KL are both discounted (KL in
the token rewards, discounted returns), P* is the soft DP pi ~ pi_hat exp((r + discount F') / b), F = b log sum pi_hat
exp((r + discount F') / b), which does not telescope; with the log-prob form at discount 0 it is pi_hat^(1 + alpha /
b) token by token: sampling at temperature b / (alpha + b).""",
}
