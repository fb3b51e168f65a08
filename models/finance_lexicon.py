"""Words of financial news, written for tickwire: what they say about the company they are said of.

Valences are on VADER's scale, from -4 to 4. Which way a number moved is not a valence: "fell" is good news of costs and
bad news of sales, so directions and their subjects are listed apart.
"""

from collections.abc import Mapping
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BY_VALENCE: Final[Mapping[float, str]] = {
    2.6: """
        skyrockets skyrocketed upgrade upgrades upgraded outperform outperforms outperformed overweight
    """,
    2.2: """
        beat beats topped tops exceeded exceeds exceeding bullish breakthrough blockbuster rallied rallies
    """,
    1.8: """
        rebound rebounds rebounded recovery recovers recovered profitable profitability turnaround accretive
    """,
    1.6: """
        approved approves approval wins won winning awarded awards secured secures landed oversubscribed
    """,
    1.4: """
        buyback buybacks repurchase record-high milestone upbeat reaffirms reaffirmed synergies outpaced
    """,
    1.0: """
        expands expanding expansion signs signed selected chosen partnership resumes
    """,
    -2.8: """
        bankruptcy bankrupt insolvency insolvent fraud fraudulent embezzlement defaulted delisted delisting
    """,
    -2.4: """
        plunge plunges plunged plummets plummeted crash crashed slump slumps slumped tumbles tumbled tumble
    """,
    -2.2: """
        downgrade downgrades downgraded underperform underweight bearish restatement restates liquidation
    """,
    -2.0: """
        lawsuit lawsuits sued sues indicted indictment subpoena probe probes investigated breach recall recalls
    """,
    -1.9: """
        missed misses shortfall writedown write-down writedowns impairment impairments fined penalty
    """,
    -1.8: """
        layoff layoffs redundancies redundancy laid-off bleak sell-off selloff recession downturn
    """,
    -1.6: """
        halts halted suspended suspends suspension delays delayed delay cancelled canceled terminated
    """,
    -1.4: """
        disappointing disappoints headwinds sluggish worsened worsens worsening strike strikes outage stalled
    """,
    -1.0: """
        closure closures restructuring volatile uncertainty overhang dilutive dilution
    """,
}
WORDS: Final[Mapping[str, float]] = {word: valence for valence, text in _BY_VALENCE.items() for word in text.split()}
PHRASES: Final[Mapping[str, float]] = {
    "raises guidance": 2.6, "raised guidance": 2.6, "raises outlook": 2.6, "raised its outlook": 2.6,
    "raises forecast": 2.4, "raised its forecast": 2.4, "lifts outlook": 2.4, "above expectations": 2.2,
    "better than expected": 2.4, "all-time high": 2.2, "record high": 2.2, "strong demand": 2.2, "price target": 0.0,
    "special dividend": 1.8, "regulatory approval": 1.8, "back to profit": 2.4, "swung to profit": 2.4,
    "returned to profit": 2.4, "turned to profit": 2.4,
    "cuts guidance": -2.6, "cut guidance": -2.6, "lowers guidance": -2.6, "lowered guidance": -2.6,
    "cuts outlook": -2.6, "cut its outlook": -2.6, "lowers forecast": -2.4, "withdraws guidance": -2.6,
    "profit warning": -2.8, "below expectations": -2.2, "worse than expected": -2.4, "weak demand": -2.2,
    "going concern": -2.6, "short seller": -2.0, "class action": -2.0, "data breach": -2.4, "job cuts": -1.8,
    "cuts dividend": -2.4, "suspends dividend": -2.6, "steps down": -1.2, "chapter 11": -3.0,
    "swung to loss": -2.6, "swung to a loss": -2.6, "turned to a loss": -2.6, "net loss": -1.6,
    "operating loss": -1.6, "made a loss": -2.0,
}  # fmt: skip

UP: Final = _words("""
    up rise rises rose risen rising increase increases increased increasing grow grows grew grown growing growth
    gain gains gained climb climbs climbed climbing jump jumps jumped soar soars soared soaring surge surges surged
    surging advance advanced higher doubled doubles tripled triple improve improved improves improvement widened
    widens accelerated accelerates boost boosts boosted strengthened expanded raise raises raised
""")
DOWN: Final = _words("""
    down fall falls fell fallen falling decrease decreases decreased decreasing decline declines declined declining
    drop drops dropped dropping lower lowers lowered sink sinks sank shrink shrinks shrank shrunk slid slide slides
    slip slips slipped dip dips dipped weaken weakened weakens halved narrowed narrows narrowing narrow cut cuts
    cutting reduce reduces reduced reduction contracted contraction dwindled slower slowed slowdown
""")
GOOD_WHEN_UP: Final = _words("""
    profit profits sales sale revenue revenues earnings income ebit ebitda eps margin margins dividend dividends
    orders demand turnover volume volumes backlog shipments deliveries bookings cash share shares stock stocks price
    prices market rating outlook guidance forecast productivity efficiency capacity subscribers users customers
    profitability growth exports gdp output production result results liquidity shareholding
""")
BAD_WHEN_UP: Final = _words("""
    loss losses cost costs expense expenses debt debts unemployment jobless inflation impairments claims defaults
    delinquencies complaints layoffs tariffs liabilities deficit charges borrowings inventories churn emissions
    bankruptcies volatility risk risks
""")
MOVES: Final = UP | DOWN
_MOODLESS: Final = _words("""
    interest interests gross value values credit security securities trust united agreement agreements energy
    solution solutions number party parties play like limited liability fire novel intelligence well save matter
    please engage engaged natural lost help helps kind ensure special certain chance feeling original top commitment
    committed active interested responsible alert contend joins joint care free heaven strength opportunities
    opportunity challenge challenges common hand vision outstanding asset assets fair effective support supports
    supporting safety agreed pay substantial authority clear defense fine waste creating launched launches
""")
SILENT: Final = MOVES | GOOD_WHEN_UP | BAD_WHEN_UP | _MOODLESS
"""Words that VADER hears a mood in and that have none in themselves here."""
