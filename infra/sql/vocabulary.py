"""What free SQL is made of: the functions, types and keywords that a statement may hold. What is not here is refused."""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


AGGREGATES: Final = _words(
    """
    any anyLast argMax argMin avg avgWeighted boundingRatio corr count covarPop covarSamp deltaSum entropy
    exponentialMovingAverage exponentialTimeDecayedAvg first_value groupArray groupUniqArray kurtPop kurtSamp last_value
    max median min quantile quantileExact quantileTDigest quantiles quantilesExact rankCorr simpleLinearRegression
    skewPop skewSamp stddevPop stddevSamp sum sumKahan topK uniq uniqCombined uniqExact varPop varSamp
    """
)
"""Each of them also with the combinator `If`."""
WINDOW: Final = _words("dense_rank lagInFrame leadInFrame nth_value ntile percent_rank rank row_number")
HIGHER_ORDER: Final = _words(
    """
    arrayAvg arrayCount arrayCumSum arrayDifference arrayFilter arrayMap arrayMax arrayMin arrayReverseSort arraySort arraySum
    """
)
"""Their first argument may be a lambda. A bare name there would name any function of the engine."""
VALUES: Final = _words(
    """
    abs acos asin assumeNotNull atan bitAnd bitOr bitXor cbrt ceil cityHash64 coalesce concat cos divide e empty
    endsWith equals exp exp2 floor greatest greater hex if ifNotFinite ifNull intDiv isFinite isInfinite isNaN isNotNull
    isNull least left length less like ilike ln log log10 log1p log2 lower match minus modulo multiIf multiply negate not
    notEmpty nullIf pi plus position pow power right round roundBankers sign sin sipHash64 sqrt startsWith substring tan
    tanh toTypeName toNullable transform trunc upper
    array arrayDistinct arrayElement arrayEnumerate arrayReverse has indexOf tuple tupleElement
    toBool toDate toDateTime toDateTime64 toFloat32 toFloat64 toInt8 toInt16 toInt32 toInt64 toString toUInt8
    toUInt16 toUInt32 toUInt64 fromUnixTimestamp64Micro fromUnixTimestamp64Milli fromUnixTimestamp64Nano
    toUnixTimestamp toUnixTimestamp64Micro toUnixTimestamp64Milli toUnixTimestamp64Nano
    addDays addHours addMinutes addSeconds dateDiff dateTrunc date_diff now now64 subtractDays subtractHours
    subtractMinutes subtractSeconds toDayOfMonth toDayOfWeek toHour toIntervalDay toIntervalHour toIntervalMinute toIntervalSecond
    toIntervalMillisecond toMinute toMonth toSecond toStartOfDay toStartOfFifteenMinutes toStartOfFiveMinutes toStartOfHour
    toStartOfInterval toStartOfMinute toStartOfMonth toStartOfSecond toStartOfTenMinutes toStartOfWeek toStartOfYear
    toTimeZone toYYYYMM toYYYYMMDD toYear today yesterday
    """
)
FUNCTIONS: Final = AGGREGATES | {f"{name}If" for name in AGGREGATES} | WINDOW | HIGHER_ORDER | VALUES
"""Pure functions whose work and answer are no larger than what they are given; none reads a table, a file or a setting."""

INTERVALS: Final = _words("NANOSECOND MICROSECOND MILLISECOND SECOND MINUTE HOUR DAY WEEK MONTH YEAR")
TYPES: Final = _words(
    "Bool Date DateTime DateTime64 Float32 Float64 Int8 Int16 Int32 Int64 Nullable String UInt8 UInt16 UInt32 UInt64"
)
KEYWORDS: Final = _words(
    """
    ALL AND ANTI ANY AS ASC ASOF BETWEEN BY CASE CAST CROSS CURRENT DESC DISTINCT ELSE END EXCEPT FALSE FINAL FIRST
    FOLLOWING FROM FULL GROUP HAVING ILIKE IN INNER INTERSECT INTERVAL IS JOIN LAST LEFT LIKE LIMIT NOT NULL NULLS OFFSET ON
    OR ORDER OUTER OVER PARTITION PRECEDING PREWHERE QUALIFY RANGE RIGHT ROW ROWS SELECT SEMI THEN TRUE UNBOUNDED UNION
    USING WHEN WHERE WITH
    """
)
SIGNS: Final = _words("( ) [ ] , . * + - / % = < > ! |")
