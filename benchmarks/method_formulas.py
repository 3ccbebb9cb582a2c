r"""The objective of every method in formulas, as its terms compute it, and when it fails: for the page of each method.

Formulas are those of the papers, in one notation, with the constants that the terms put in them. The tests named on a
method's page compare its terms with such formulas written out plainly.
"""

NOTATION = r"""
Notation: $x^s, y^s$ are source images and labels, $x^t$ target images. $p_{jc}$ is the probability of class $c$ at pixel $j$ (of the source $p^s$, of the target $p^t$),
after the logits are brought to the image's size; $C$ is the number of classes, $N$ that of an image's pixels. $\operatorname{mean}_j$ is over the pixels of the batch.
$L_\text{seg}$ is the cross-entropy of the source's labels; a network with an auxiliary level adds $0.1$ times the same of that level.
""".strip()

_SEG = r"L_\text{seg} = \operatorname{mean}_{j:\,y^s_j \ne \text{ignored}} \; -\log p^s_{j\,y^s_j}"
_GAME_FAILS = (
    "The discriminator wins (its loss, `disc_*`, falls to 0: what it teaches is noise) or learns nothing (it stays at chance, {chance}); a run "
    "warns of both and says what to try. Alignment of whole layouts moves classes that differ in frequency between the domains towards the wrong ones: "
    "look at rare classes in the table, not at the mean alone. "
)
_LABELS_FAIL = (
    "Labels are the network's own: what it gets wrong with confidence at the round's start is taught as truth. The share of labelled pixels is logged "
    "(`pseudo_share`), their quality is not known without labels. A poor start makes it worse: warm up longer, or join it to an adversary. "
)
_TEACHER_FAILS = (
    "The teacher's labels are the network's own habits, averaged. What source-only training confuses (road and sidewalk, say) is soon taught as truth; "
    "a run warns when one class takes nearly all pixels. On CARLA → CamVid its seeds are far apart (benchmarks): nothing holds the network on the target. "
    "Start later (`start`) or join an adversary, as `advent_daformer` does. "
)

FORMULAS: dict[str, str] = {
    "source_only": rf"""
$${_SEG}$$

With `class_balance` $b$, a pixel of class $c$ counts $w_c \propto f_c^{{-b}}$ in the mean, where $f_c$ is the class's share of the source's labelled pixels. With
`average="all"` the sum is divided by all pixels, ignored ones too.
""",
    "oracle": r"""
$$L = \operatorname{mean}_{j:\,y^t_j \ne \text{ignored}} \; -\log p^t_{j\,y^t_j}$$

The same as `source_only`, on the target's labels.
""",
    "target_bn": r"""
$$L = L_\text{seg}, \qquad \hat z = \gamma\,\frac{z - \mu^t}{\sqrt{v^t + \varepsilon}} + \beta$$

Nothing is trained on the target. Before each evaluation the mean $\mu^t$ and variance $v^t$ of every batch norm become the average of those of `batches` batches of target images,
all layers in one pass.
""",
    "adaptseg": r"""
$$L = L_\text{seg} + \lambda \operatorname{mean} \, -\log\bigl(1 - \sigma(D(p^t))\bigr)$$

$$L_D = \tfrac12 \Bigl[ \operatorname{mean} \, -\log\bigl(1 - \sigma(D(p^s))\bigr) + \operatorname{mean} \, -\log \sigma(D(p^t)) \Bigr]$$

$D$ calls source 0 and target 1, and the network is paid for being called source. $D$ sees probabilities without gradient in $L_D$; $\lambda$ is `weight`.
The losses are logged as `adv_output_main` and `disc_output_main`.
""",
    "adaptseg_multi": r"""
$$L = L_\text{seg} + \sum_{l} \lambda_l \operatorname{mean} \, -\log\bigl(1 - \sigma(D_l(p^{t,l}))\bigr), \qquad l \in \{\text{main}, \text{aux}\}$$

Each level has a discriminator of its own, trained as in `adaptseg`: $\lambda_\text{main} = 10^{-3}$, $\lambda_\text{aux} = 2 \cdot 10^{-4}$.
""",
    "adaptseg_ls": r"""
$$L = L_\text{seg} + \lambda \operatorname{mean} D(p^t)^2, \qquad
L_D = \tfrac12 \Bigl[ \operatorname{mean} D(p^s)^2 + \operatorname{mean} \bigl(D(p^t) - 1\bigr)^2 \Bigr]$$

The game of `adaptseg` with squared distances (LSGAN).
""",
    "feature_adversarial": r"""
$$L = L_\text{seg} + \lambda \operatorname{mean} \, -\log\bigl(1 - \sigma(D(f^t))\bigr)$$

$f$ are the backbone's last features at their own resolution; $D$ is trained as in `adaptseg`, and decides at every position.
""",
    "fada": r"""
$$L = L_\text{seg} - \lambda \operatorname{mean}_j \sum_c a^t_{jc} \log P(d = s, c \mid f^t_j)$$

$$L_D = -\tfrac12 \Bigl[ \operatorname{mean}_j \sum_c a^s_{jc} \log P(d = s, c \mid f^s_j) + \operatorname{mean}_j \sum_c a^t_{jc} \log P(d = t, c \mid f^t_j) \Bigr]$$

The discriminator has $2C$ answers, domain by class (eq. 5 and 6 of the paper). $a_{jc} = \min\bigl(\operatorname{softmax}_c(z_j / T),\ 0.9\bigr)$ is the soft class of a position, of the network's own
logits $z$ without gradient; $T$ is `temperature`, 0.9 is `clip`.
""",
    "minent": r"""
$$L = L_\text{seg} + \lambda \operatorname{mean}_j H_j, \qquad H_j = -\frac{1}{\log C} \sum_c p^t_{jc} \log p^t_{jc}$$

$H$ lies in 0..1. The auxiliary level, where there is one, has a weight of its own (`aux_weight`).
""",
    "maxsquare": r"""
$$L = L_\text{seg} - \frac{\lambda}{C} \sum_j \sum_c \frac{(p^t_{jc})^2}{N_{a_j}^{\alpha} \, N^{1-\alpha}}, \qquad a_j = \operatorname{argmax}_c p^t_{jc}$$

$N_{a}$ is the number of the image's pixels that are decided as class $a$; the sum is averaged over the images. The gradient is linear in $p$, where that of the entropy is largest at sure pixels. Without
`alpha`: $-\tfrac{\lambda}{2} \operatorname{mean}_{j,c} (p^t_{jc})^2$.
""",
    "advent": r"""
$$I_{jc} = -\frac{p_{jc} \log p_{jc}}{\log C}, \qquad L = L_\text{seg} + \lambda \operatorname{mean} \, -\log\bigl(1 - \sigma(D(I^t))\bigr)$$

The game of `adaptseg` on maps of weighted self-information. The paper has $\log_2$ in both places, which cancels.
""",
    "advent_multi": r"""
$$I_{jc} = -\frac{p_{jc} \log p_{jc}}{\log C}, \qquad L = L_\text{seg} + \sum_l \lambda_l \operatorname{mean} \, -\log\bigl(1 - \sigma(D_l(I^{t,l}))\bigr)$$

As `advent`, with a discriminator for each level: $\lambda_\text{main} = 10^{-3}$, $\lambda_\text{aux} = 2 \cdot 10^{-4}$.
""",
    "cbst": r"""
$$L = L_\text{seg} + w \operatorname{mean}_{j:\,\hat y_j \ne \text{none}} \; -\log p^t_{j \hat y_j}, \qquad
\hat y_j = \operatorname{argmax}_c \frac{q_{jc}}{\tau_c} \;\text{ where } q_{j \hat y_j} > \tau_{\hat y_j}$$

$q$ are the probabilities of a copy of the network that is frozen when the round begins. $\tau_c$ is the probability of the pixel at the share $\rho_k = \min(0.5,\ 0.2 + 0.05 (k - 1))$ of all target pixels
that are decided as $c$, the surest first, in round $k$ (`portion`, `growth`, `limit`).
""",
    "crst": r"""
$$L = L_\text{seg} + \operatorname{mean}_{j:\,\hat y_j \ne \text{none}} \Bigl[ -\log p^t_{j \hat y_j} - \frac{\alpha}{C} \sum_c \log p^t_{jc} \Bigr]$$

The labels are those of `cbst`; the second part (MRKLD) is the divergence from the uniform distribution up to a constant, and $\alpha$ is `smoothing`.
""",
    "crst_soft": r"""
$$L = L_\text{seg} - \operatorname{mean}_{j \in S} \sum_c \hat y_{jc} \log p^t_{jc}, \qquad \hat y_{jc} = \frac{(q_{jc} / \tau_c)^{1/a}}{\sum_k (q_{jk} / \tau_k)^{1/a}}$$

$\hat y$ minimises $\sum_c \hat y_c (\log \tau_c - \log q_c) + a \sum_c \hat y_c \log \hat y_c$ (LRENT). The minimum is $-a \log \sum_c (q_c / \tau_c)^{1/a}$, and $S$ are the pixels at which it is below 0, the cost
of no label. $q$ and $\tau$ are those of `cbst`, $a$ is `softness`.
""",
    "iast": r"""
$$L = L_\text{seg} + [\,\text{first half}\,] \, \lambda L_\text{adv} + \operatorname{mean}_{j:\,\hat y_j \ne \text{none}} \Bigl[ -\log p^t_{j \hat y_j} - \frac{r}{C} \sum_c \log p^t_{jc} \Bigr]
+ e \operatorname{mean}_{j:\,\hat y_j = \text{none}} H_j$$

$$\tau_c \leftarrow \beta \tau_c + (1 - \beta) \, s_c, \qquad s_c = \text{probability at the share } \alpha \, \tau_c^{\gamma} \text{ of the image's pixels of } c$$

$L_\text{adv}$ is that of `adaptseg`, for the warm-up; $H$ is the entropy over $\log C$. Thresholds move from image to image; $\hat y_j$ is the likeliest class where its probability
exceeds that class's threshold. $r$ is `smoothing`, $e$ is `entropy`.
""",
    "dacs": r"""
$$x^m = M \odot x^s + (1 - M) \odot x^t, \qquad y^m = M \odot y^s + (1 - M) \odot \hat y, \qquad \hat y_j = \operatorname{argmax}_c q_{jc}$$

$$L = L_\text{seg} + \operatorname{mean}_j \; -w_j \log p^m_{j y^m_j}, \qquad w_j = 1 \text{ in } M, \text{ elsewhere } \operatorname{mean}_i [\max_c q_{ic} > \tau]$$

$M$ are the pixels of half of the source image's classes (ClassMix). $q$ is the teacher's probability: its weights follow $\phi \leftarrow m \phi + (1 - m) \theta$, and $m$ rises from
`first_momentum` to `momentum`. The mixed image's colours are changed and it is blurred at random; $\tau$ is `threshold`, and the mean in $w$ is over the image or the batch (`weights`).
""",
    "daformer": r"""
$$L = L_\text{seg} + L_\text{mix} + \lambda \operatorname{mean}_{i \in T} \bigl\| f^s_i - f^{\text{ImageNet}}_i \bigr\|_2$$

$L_\text{mix}$ is that of `dacs`. $f$ are the backbone's last features of source images, $f^{\text{ImageNet}}$ those of the same backbone with its first weights, frozen. $T$ are the positions of which one
thing class covers more than `share`. $L_\text{seg}$ is averaged over all pixels. Labels at the image's top and bottom do not count (`ignore_top`, `ignore_bottom`).
""",
    "mic": r"""
$$L = L_\text{seg} + L_\text{mix} + L_\text{FD} + \mu \operatorname{mean}_j \; -w_j \log p^{\text{masked}}_{j \hat y_j}$$

The first three are those of `daformer`. $p^{\text{masked}}$ is of the target image of which each square of `block` pixels is hidden with the chance `ratio`; $\hat y$ and $w$ are the teacher's, who sees
all of it. $\mu$ is `masking.weight`.
""",
    "proda": r"""
$$\hat y_j = \operatorname{argmax}_c \; q_{jc} \, \omega_{jc}, \qquad \omega_{jc} = \operatorname{softmax}_c \Bigl( -\frac{\| f_j - \eta_c \|_2}{T s} \Bigr)$$

$$L = L_\text{seg} + w \operatorname{mean}_j \Bigl[ -\alpha \log p^t_{j \hat y_j} + \beta \, (1 - p^t_{j \hat y_j}) \log 10^4 \Bigr] - r \operatorname{mean}_{j,c} \log p^t_{jc}$$

$q$ is frozen when the round begins; $f$ are features of a momentum network, and the prototypes $\eta_c$ follow their class means (`prototype_momentum`). $s$, ours, is the scale of distances: the root of
their mean square within classes at the round's start. The second bracket is the reverse cross-entropy with $\log 0$ taken as $\log 10^{-4}$. $\alpha$ is `cross_entropy`, $\beta$ `reverse`, $r$ `smoothing`, $T$ `temperature`.
""",
    "fda": r"""
$$x^{s \to t} = F^{-1} \bigl( [\,b A(x^t) + (1 - b) A(x^s)\,] \, e^{i \Phi(x^s)} \bigr)$$

$$L = L_\text{seg}(x^{s \to t}) + \lambda \operatorname{mean}_j \bigl( H_j^2 + 10^{-8} \bigr)^{\eta}$$

$A$ and $\Phi$ are amplitude and phase of the Fourier transform $F$ of each channel. $b$ is 1 in the square of $2 \lfloor \beta \min(h, w) \rfloor + 1$ lowest frequencies a side (eq. 3). $H$ is the entropy over
$\log C$ of target predictions, and its penalty the Charbonnier function, taken at the head's own resolution.
""",
    "lab": r"""
$$x^{s \to t} = \frac{x^s - \mu(x^s)}{\sigma(x^s)} \, \sigma(x^t) + \mu(x^t), \qquad L = L_\text{seg}(x^{s \to t})$$

per channel of CIELAB, with each image's own mean and deviation; each source image takes those of the target image at its place in the batch.
""",
    "tent": r"""
$$L = \operatorname{mean}_j H_j, \qquad H_j = -\frac{1}{\log C} \sum_c p^t_{jc} \log p^t_{jc}, \qquad \theta = \{\gamma, \beta \text{ of batch norms}\}$$

There is no source. The auxiliary level adds $0.1$ times the same. Batch norms use the statistics of the target batch in training, and their running average when scored.
""",
    "source_free_shot": r"""
$$L = -\operatorname{mean}_j \sum_c p^t_{jc} \log p^t_{jc} + \sum_c \bar p_c \log \bar p_c + w \operatorname{mean}_j \; -\log p^t_{j \hat y_j}, \qquad \bar p_c = \operatorname{mean}_j p^t_{jc}$$

$$\hat y_j = \operatorname{argmax}_c \cos(f_j, \eta_c), \qquad \eta^{(0)}_c = \frac{\sum_j q_{jc} f_j}{\sum_j q_{jc}}, \qquad \eta_c = \frac{\sum_j [\hat y^{(0)}_j = c] \, f_j}{\sum_j [\hat y^{(0)}_j = c]}$$

Each pixel is to be sure and all together diverse. Centroids $\eta$ are made as a round begins, twice: of probabilities, then of the labels that the first ones give. The heads are frozen.
""",
    "cotta": r"""
$$L = -w \operatorname{mean}_j \sum_c \hat q_{jc} \log p^t_{jc}, \qquad \hat q = \begin{cases} \operatorname{mean}_{s, \text{mirror}} q(s) & \operatorname{mean}_j \max_c q^0_{jc} < \tau \\ q & \text{else} \end{cases}$$

$$\phi \leftarrow m \phi + (1 - m) \theta, \qquad \theta_i \leftarrow \theta^0_i \text{ with chance } r$$

$q$ are the teacher's probabilities, $q^0$ those of the network at the start; an image of which that one is unsure is labelled by the mean over zooms $s$ and mirrored images. Each step sets a random share
$r$ of the weights back. $\tau$ is `threshold`, $r$ is `restore`.
""",
}
"""Markdown with LaTeX between $ and $$."""

FAILS: dict[str, str] = {
    "source_only": "The domains differ: that is what is measured. It is also far from one number. Seeds of one recipe lie several points apart, "
    "so compare methods with at least three.",
    "oracle": "It is a ceiling for these labels, this network and this budget, not for the task: with few labelled target images it can be below an adapted network.",
    "target_bn": "The network keeps its batch norms frozen (`affine_frozen`, `frozen`) and was never trained to depend on batch statistics; or it has none, as transformers; or target batches are "
    "unlike each other. On CARLA → CamVid it costs ten points against source-only (benchmarks).",
    "adaptseg": _GAME_FAILS.format(chance="ln 2 = 0.693")
    + "A healthy `disc_output_main` lies at 0.2 to 0.5. It needs layouts that agree: a camera on a roof and one on a bonnet do not.",
    "adaptseg_ls": _GAME_FAILS.format(chance="0.25")
    + "Its weight is ten times that of `adaptseg`: with an unstable network, lower it first.",
    "adaptseg_multi": _GAME_FAILS.format(chance="ln 2 = 0.693")
    + "A network without an auxiliary level is refused: set `model.aux`.",
    "feature_adversarial": _GAME_FAILS.format(chance="ln 2 = 0.693")
    + "Features have many more dimensions than predictions: the discriminator finds a difference that does not matter for the classes.",
    "fada": "The soft classes are the network's own, so a class that it never predicts on the target is never aligned. The discriminator's loss has no known chance level: a run cannot warn of it. "
    "Begin from a network trained on the source, as the paper does.",
    "minent": "Entropy falls soonest where the network is nearly sure: easy classes grow and rare ones vanish, and confident errors are sealed. A weight that is too high ends with one class everywhere, of which a run "
    "warns. The score without labels called `entropy` says nothing about methods that lower the entropy themselves.",
    "maxsquare": "As `minent` in kind, milder for rare classes. The published weight assumes a network that was trained on the source first: from ImageNet weights alone, its gradient pulls on noise.",
    "advent": _GAME_FAILS.format(chance="ln 2 = 0.693")
    + "It can be satisfied by a network that is sure and wrong. Entropy maps are near 0 on most of the source, so the discriminator sees little but edges.",
    "advent_multi": _GAME_FAILS.format(chance="ln 2 = 0.693")
    + "As `advent`; a network without an auxiliary level is refused.",
    "cbst": _LABELS_FAIL
    + "A class that is decided nowhere has no threshold and stays at 0. More rounds do not mend labels that are wrong in the same way.",
    "crst": _LABELS_FAIL
    + "Too much `smoothing` keeps the network unsure everywhere; the printed weight of 0.1 acts as 0.01 (parity).",
    "crst_soft": _LABELS_FAIL
    + "A large `softness` makes labels nearly uniform, and these teach nothing; near 0 they are those of `cbst`.",
    "iast": _LABELS_FAIL + "Thresholds are known image by image, so images may not change while a run is interrupted. "
    "The warm-up must be half of the schedule, or `end` its share: otherwise both games overlap.",
    "dacs": _TEACHER_FAILS
    + "With the two domains at different heights of the camera, pasted things stand in the sky. It reads source and target at one size of crop.",
    "daformer": _TEACHER_FAILS
    + "The distance needs a backbone with ImageNet weights: with `--model.weights none` it holds features to noise. A label space without thing classes is refused.",
    "mic": _TEACHER_FAILS
    + "Where 70 % of an image is hidden and things are smaller than a block, there is no context to decide by: lower `masking.block` for small images. It costs a third more memory and time than `daformer`.",
    "proda": _LABELS_FAIL
    + "Features of different classes that lie together (fence and wall) swap labels. It is ProDA's first stage alone: the published score is far away.",
    "fda": "Large `beta` leaves visible rings and squares; small ones change the colour alone. Content is not adapted: a class that looks different in kind (buses of another shape) stays where it was.",
    "lab": "A target image with much sky colours a source image with none. On photographs it gained little or nothing (benchmarks: -0.8 on CARLA → CamVid).",
    "tent": "Too many steps or too high a rate end with one class everywhere, and nothing holds it back. A network without batch norms, or with frozen ones, is refused. Batches of one image have noisy statistics.",
    "source_free_shot": "The mean prediction is pushed towards all classes alike, and streets are not uniform: small classes grow at the cost of road (lower `diversity`). A class that is decided nowhere has no centroid and is never labelled.",
    "cotta": "It is made for long streams: on one target for few steps it hardly moves (momentum 0.999, 1 % set back). Zooms cost up to fourteen passes of the teacher for images of which the start network is unsure.",
}
"""When a method fails, how that shows, and what to try."""
