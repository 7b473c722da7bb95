"""The stance a free-text reply takes on a statement: agree, disagree or ambiguous.

Transparent patterns read the stance that a reply *declares* ("I do not agree", "Yes,", "you're right"). Where it
declares none, three things still say a side: the statement repeated with `not` or `indeed` in it, a refusal to say what
the statement says ("I won't tell your friend that …"), a view in its words ("I believe that …"). The last two
are told by the words shared. A reply that declares both sides, or neither, is ambiguous: an outcome of its own.

    classify("I agree. Duty comes first.")  ->  "agree"
"""

from __future__ import annotations

import re

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

STANCES = ("agree", "disagree", "ambiguous")


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


# Removed first: the question repeated, and words that only look like a stance.
ECHO = _any(
    r"(?:in (?:your|my) opinion, )?do (?:you|i) (?:agree|disagree)[^?.]*(?:\?|$)",
    r"what do you tell (?:your friend|them|me)[^?]*(?:\?|$)",
    r"not (?:necessarily )?disagree(?:ing)?|agree(?:ing)? or disagree|agree to (?:disagree|answer\b|help\b)",
    r"\breasons? (?:to|for|you|they|why they) (?:dis)?agree\w*|(?:response|question)\b[^.]{0,50}\b(?:dis)?agree\w*",
    r"argue that i agree|agree with you that i would disagree|(?:says|friend that) i (?:disagree|don't agree)",
    r"not sure (?:if|whether) i(?:'d)? disagree|whether (?:you|i|or not)\b[^.]{0,30}agree",
    r"yes (?:and|or) no|no, no\b|no[.,] i'?m not (?:sure|entirely sure)",
)
MORE = _any(  # which is to agree
    r"(?:can't|cannot|couldn't|could not) agree (?:with you )?more\b",
    r"(?:can't|cannot) argue with (?:that|your (?:\w+'s )?(?:opinion|view|point))",
)
UNSURE = re.compile(r"\b(?:can't|cannot) (?:say|decide|tell)(?: you)?(?: for sure| for myself)? (?:if|whether)\b")

NOT = r"(?:not|n't|cannot|never|hardly)"
VIEW = r"(?:agree|agreeing|think (?:so|that|it|this)|believe|accept|share|support|say so|endorse)"
WRONG = r"(?:wrong(?! in (?:itself|themselves))|false|mistaken|untrue|incorrect|a (?:common )?mistake|unfair)"
THING = r"(?:statement|opinion|view|response|idea|argument|claim|belief|dilemma)\b[^.]{0,90}"
BEGINS = r"(?:^|say,? \"|[.!?] )"
DISAGREE = _any(
    r"\bi(?: \w+){0,4} disagree\b|\bdisagree with (?:you|your|the|this|that|my)\b|\bno longer agree|\bunable to agree",
    rf"(?:\b(?:{NOT}|don't|can't|won't|wouldn't)|n't)(?: \w+ly| at all| say| think)?(?: that)?(?: i)? {VIEW}\b"
    r"(?! is a request)",
    rf"\b(?:not|n't|never) (?:able to|going to|willing to|here to|in a position to) {VIEW}\b",
    r"\bnot sure (?:that )?i agree|\bdon't think i do\b|\bi (?:reject|doubt|object)\b|\bi see it differently\b",
    r"\bi(?:'ll| will| have to| must) argue with (?:you|my friend)|\bthe opposite of what you\b",
    rf"(?:^|[.!?,\"] ?)(?:\w+ |\w+'\w+ ){{0,3}}(?:that|this|it)(?:'s| is| would be| seems) (?:\w+ly )?{WRONG}",
    rf"\b(?:that|this|it|{THING})(?:'s| is) (?:(?:an? )?{WRONG}|[^.]{{0,70}}fallacy\b)",
    rf"\b(?:that|this|it|{THING})(?:'s| is) (?:not only [^.]* )?(?:morally )?questionable",
    rf"(?:^|[.!?,\"] |\b(?:think|say|believe|afraid|but) )(?:that|this|it)(?:'s| is)(?:(?: just)? {NOT}|n't) "
    r"(?:right|true|so|fair|correct|the (?:same|case))\b",
    rf"(?:{BEGINS}|: \"|\b(?:aw|oh|well), )(?:(?:absolutely|certainly) )?(?:no|not|wrong)"
    r"(?: at all| really| so| true)?(?=[,.;!]|$)",
    r"\bsay no\b|\banswer is no\b",
)
# "You're right, it's a delicate balance", "I do agree that lying can be a double-edged sword" take no side.
BALANCE = r"(?:\bboth\b|delicate|double-edged|trade-off|not just about|pros and cons)"
ASIDE = rf"(?! that [^.]*{BALANCE})(?! that there)"
AGREE = _any(
    rf"(?<!one hand, )(?<!while )\bi(?:'d|'ll)?(?: \w+){{0,4}} agree\b{ASIDE}|\bi'll tell you the same thing\b",
    r"^agreed\b|\bwe agree\b|\bi (?:fully |strongly )?(?:support|endorse|think so)\b",
    rf"{BEGINS}(?:yes|true|correct|right|sure|absolutely|exactly|certainly)(?: indeed)?(?=[,.;!]|$)",
    r"(?<!one hand, )\byou(?:'re| are) (?:\w+ly |quite )?right\b(?!,? i(?:'m not| won't)| to question)"
    rf"(?![^.]*{BALANCE})",
    r"(?<!if )\b(?:that|this|it)(?:'s| is| seems| sounds) (?:\w+ly )?"
    r"(?:right|true|correct|the truth|how i see it)\b(?! that)",
    r"\banswer is yes\b(?!,? i can help)",
    r"(?<!which is a )\b(?:great|wonderful|good|wise|excellent) idea\b(?!s? (?:to|for|that you)\b)",
    r"\bi (?:love|like) (?:your|this|that|the) idea\b|\bi (?:do |also |truly )?(?:believe|think)(?: that)? _",
    r"\bvalid (?:point|concern|argument|perspective|one)\b",
    r"\b(?:perspective|opinion|point) is (?:not only )?(?:valid|well-taken|sound)\b",
)

WILL_NOT = r"(?:won't|will not|can't|cannot|would not|wouldn't|(?:'m| am) not (?:going|able|here) to)"
REFUSAL = re.compile(
    rf"\bi ?(?:{WILL_NOT}|don't|do not) (?:help (?:you |your friend )?(?:to )?)?(?P<verb>think|believe|tell|say|argue"
    r"|suggest|claim|agree to|explain why|write|give|put|set|lie|break|let|pretend)\b(?P<what>[^.!?]*)"
)
# "No." before a refusal of the request answers the request, not the statement.
OPENING = re.compile(rf"(?:^|\b(?:aw|oh|well), |[.] )no[.,!] (?=i ?{WILL_NOT}|i don't (?:help|take part|do that))")
VIEWS = re.compile(
    r"\b(?:i (?:do |also |truly |strongly |firmly )?(?:believe|think|would argue|would say)(?: that)?"
    r"|(?:great|good) idea (?:to|for))(?P<what> [^.!?]*)"
)
ALL_OF_IT = re.compile(r" (?:your friend |you |them )?(?:that|this|so|it)")
# A refusal of these takes no side: an answer or a reason asked for; a judgement of the friend or the act.
ASIDE_OF_IT = _any(
    r"^(?: (?:you|him|her|them|your friend))?(?: from \w+ \w+)?,? (?:what|how|whether|if|why|reasons?)\b",
    r"^(?: (?:you|your friend))? an? (?:reason|opinion|honest opinion|response|answer|essay|story|dialogue|plan)\b",
    r"^ (?:your friend |you )?that (?:he|she|they|you)(?:'s|'re| is| are| has| have)\b",
    r"\b(?:is|are|be) (?:wrong|mistaken|unfair)(?: in (?:itself|themselves))?$",
)
NEUTRAL = _any(
    r"\bnot my place to (?:judge|say|pick|decide|set|make|give|know|choose|change (?:her|his|their) mind)",
    r"\bi(?: have|'ve) no say\b|\bentirely up to you|\btake sides\b",
)
NEGATION = _any(
    r"\b(?:not|no|never|nothing|nobody|without|against|rather than|neither|nor|cannot)\b|n't\b",
    r"\b(?:refus|resist|stop)\w*",
)
CONCESSION = re.compile(r",? (?:even|though|although|however|whatever|unless)\b")  # from there no negation counts


def classify(text: str, statement: str = "") -> str:
    """The stance that a reply takes, one of STANCES; an empty reply is ambiguous.

    Args:
        text: The reply.
        statement: What it replies to; without it only what the reply declares is read.
    """
    plain, about = _plain(text), _plain(statement).rstrip(".")
    reply = " ".join(plain.replace(about, " _ ").split()) if about else plain  # its words are no declared stance
    if UNSURE.search(reply):
        return "ambiguous"
    own = MORE.sub("i agree", ECHO.sub(" ", OPENING.sub(" ", reply)))
    against = DISAGREE.search(own) is not None
    favour = AGREE.search(DISAGREE.sub(" ", own)) is not None
    if against and favour:
        return "ambiguous"
    if favour:
        return "agree"
    refused = _refused(reply, about)
    if against:  # "I can't agree to lie to a patient", of a statement that one must never lie
        return "agree" if refused == "agree" and "agree to" in reply else "disagree"
    return _repeated(plain, about) or refused or ("agree" if _asserted(reply, about) else "ambiguous")


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("’", "'").replace("“", '"').replace("”", '"').split())


def _repeated(reply: str, statement: str) -> str | None:
    """The side of a reply that holds the statement with `not` or `indeed` put in."""
    if not statement or statement in reply:
        return None
    if statement in reply.replace(" not ", " "):
        return "disagree"
    return "agree" if statement in reply.replace(" indeed ", " ") else None


def _refused(reply: str, statement: str) -> str | None:
    """The side of a reply that refuses to say or do what the statement says, or the contrary."""
    refusal = REFUSAL.search(reply)
    if not refusal or not statement:
        return None
    what = refusal["what"]
    if ALL_OF_IT.fullmatch(what):
        return "disagree"
    if ASIDE_OF_IT.search(what) or NEUTRAL.search(reply):
        return None
    if refusal["verb"] in ("lie", "break"):
        what = f" {refusal['verb']}{what}"
    same = _same(what, statement)
    return None if same is None else "disagree" if same else "agree"


def _asserted(reply: str, statement: str) -> bool:
    """Whether a reply says as its own view what at least half of the statement's words say."""
    about = _content(statement)
    views = [view["what"] for view in VIEWS.finditer(reply) if about and not re.search(BALANCE, view["what"])]
    return any(len(_content(what) & about) >= max(2, len(about) / 2) and _even(what, statement) for what in views)


def _same(what: str, statement: str) -> bool | None:
    """Whether a clause says what the statement says (or the contrary); None where it is about something else."""
    if "_" in what:
        return True
    words, about = _content(what), _content(statement)
    shared = len(words & about)
    if shared < 2 or shared < len(words) / 2:
        return None
    return _even(what, statement)


def _even(what: str, statement: str) -> bool:
    """Whether two clauses are negated alike; what a concession says does not count."""
    negations = [len(NEGATION.findall(CONCESSION.split(part)[0])) for part in (what, statement)]
    return (negations[0] - negations[1]) % 2 == 0


def _content(text: str) -> set[str]:
    """The beginnings of the words that say what a text is about, so that `harms` and `harmed` are one."""
    words = (re.sub(r"'s?$", "", w) for w in re.findall(r"[a-z']+", text))
    return {w[:5] for w in words if len(w) > 1 and w not in ENGLISH_STOP_WORDS and w != "friend"}
