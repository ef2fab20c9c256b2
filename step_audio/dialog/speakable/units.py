"""Units of measure behind English numbers -> words."""

from __future__ import annotations

import re
from typing import Final

from step_audio.dialog.speakable.amounts import PLACE, is_adjective

_TABLE: Final = """
bps = basis point[s]
mmHg = millimeter[s] of mercury
mmol/L = millimole[s] per liter
mg/dL = milligram[s] per deciliter
mg/L = milligram[s] per liter
g/L = gram[s] per liter
mg/kg = milligram[s] per kilogram
mg/mL = milligram[s] per milliliter
μg/mL = microgram[s] per milliliter
ng/mL = nanogram[s] per milliliter
pg/mL = picogram[s] per milliliter
μg/L = microgram[s] per liter
μmol/L = micromole[s] per liter
nmol/L = nanomole[s] per liter
L/min = liter[s] per minute
mL/min = milliliter[s] per minute
ml/min = milliliter[s] per minute
mL/h = milliliter[s] per hour
kg/m^2 = kilogram[s] per square meter
g/cm^3 = gram[s] per cubic centimeter
fl oz = fluid ounce[s]
atm = atmosphere[s]
g/mol = gram[s] per mole
kg/m^3 = kilogram[s] per cubic meter
m/s^2 = meter[s] per second squared
km/s = kilometer[s] per second
ft/s = f[oo|ee]t per second
m/s = meter[s] per second
kWh = kilowatt hour[s]
MWh = megawatt hour[s]
Wh = watt hour[s]
mAh = milliamp hour[s]
Ah = amp hour[s]
kW = kilowatt[s]
MW = megawatt[s]
GW = gigawatt[s]
W = watt[s]
kV = kilovolt[s]
mV = millivolt[s]
V = volt[s]
mA = milliamp[s]
kΩ = kilo-ohm[s]
MΩ = megaohm[s]
Ω = ohm[s]
µF = microfarad[s]
μg = microgram[s]
mcg = microgram[s]
ug = microgram[s]
μm = micrometer[s]
μs = microsecond[s]
μL = microliter[s]
ms = millisecond[s]
ns = nanosecond[s]
nm = nanometer[s]
dL = deciliter[s]
cL = centiliter[s]
ml = milliliter[s]
mL = milliliter[s]
L = liter[s]
l = liter[s]
ha = hectare[s]
mi = mile[s]
yd = yard[s]
yds = yards
tsp = teaspoon[s]
tbsp = tablespoon[s]
gal = gallon[s]
qt = quart[s]
pt = pint[s]
dB = decibel[s]
bpm = beat[s] per minute
rpm = revolution[s] per minute
fps = frame[s] per second
dpi = dots per inch
px = pixel[s]
kbps = kilobit[s] per second
Mbps = megabit[s] per second
Gbps = gigabit[s] per second
MB/s = megabyte[s] per second
GB/s = gigabyte[s] per second
KB = kilobyte[s]
kB = kilobyte[s]
MB = megabyte[s]
GB = gigabyte[s]
TB = terabyte[s]
PB = petabyte[s]
GiB = gibibyte[s]
MiB = mebibyte[s]
KiB = kibibyte[s]
kPa = kilopascal[s]
hPa = hectopascal[s]
MPa = megapascal[s]
Pa = pascal[s]
psi = pound[s] per square inch
kcal = kilocalorie[s]
cal = calorie[s]
kJ = kilojoule[s]
MJ = megajoule[s]
lbs = pounds
lb = pound[s]
oz = ounce[s]
kN = kilonewton[s]
hrs = hours
hr = hour[s]
mins = minutes
min = minute[s]
secs = seconds
sec = second[s]
sqm = square meter[s]
sqft = square f[oo|ee]t
sq ft = square f[oo|ee]t
sq m = square meter[s]
cu ft = cubic f[oo|ee]t
cc = c c
m^2 = square meter[s]
m^3 = cubic meter[s]
km^2 = square kilometer[s]
cm^2 = square centimeter[s]
cm^3 = cubic centimeter[s]
mm^2 = square millimeter[s]
m2 = square meter[s]
m3 = cubic meter[s]
km2 = square kilometer[s]
cm2 = square centimeter[s]
cm3 = cubic centimeter[s]
ft^2 = square f[oo|ee]t
ft^3 = cubic f[oo|ee]t
in^2 = square inch[es]
ft = f[oo|ee]t
mph = mile[s] per hour
kph = kilometer[s] per hour
km/h = kilometer[s] per hour
kmh = kilometer[s] per hour
kg = kilogram[s]
mg = milligram[s]
km = kilometer[s]
cm = centimeter[s]
mm = millimeter[s]
kHz = kilohertz
MHz = megahertz
GHz = gigahertz
Hz = hertz
°C = degree[s] Celsius
°F = degree[s] Fahrenheit
°N = degree[s] north
° N = degree[s] north
°S = degree[s] south
° S = degree[s] south
°E = degree[s] east
° E = degree[s] east
°W = degree[s] west
° W = degree[s] west
° = degree[s]
‰ = per thousand
g = gram[s]
m = meter[s]
h = hour[s]
"""
"""As written, and as said: what stands in brackets, or behind the bar in them, for several."""
_UNITS: Final = dict(line.split(" = ") for line in _TABLE.strip().splitlines())
_UNIT: Final = re.compile(
    r"(?<![\w.])(?P<number>\d[\d,]*(?:\.\d+)?|\.\d+)(?P<space>\s?-?)(?P<unit>"
    + "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
    + r")(?![\w^°]|[-'’]\w|/[A-Za-z])(?:(?<=[a-z])\.(?=[,;:)]|\s+[a-z\d]))?"
)
_FEET: Final = re.compile(r"(?<=\d)\s?(?:ft|feet|foot)\.?\s(\d+(?:\.\d+)?)\s?in\b")
_INCHES: Final = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)in\b(?![-'’.]\w)")
_FRACTION: Final = re.compile(r"(?:^|\D\s|[^\d\s])\d{1,2}/$")
_INFLECTED: Final = re.compile(r"\[(?:(\w+)\|)?(\w+)\]")
_SHORT_UNITS: Final = frozenset(["W", "V", "L", "l", "g", "m", "h", "pt", "mi", "ha", "cal"])


def read_units(text: str) -> str:
    """Return a text with the units behind its numbers in words."""
    text = _FEET.sub(r" ft \1in", text)
    return _UNIT.sub(_unit, _INCHES.sub(_inches, text))


def _inches(found: re.Match[str]) -> str:
    # Only right behind the figure: "5 in total" is a word.
    return f"{found[1]} inch{'' if found[1] == '1' or is_adjective(found) else 'es'}"


def _unit(found: re.Match[str]) -> str:
    number, unit = found["number"], found["unit"]
    before = found.string[max(0, found.start() - 14) : found.start()]
    if unit in _SHORT_UNITS and PLACE.search(before) and unit not in "g":
        return found[0]
    single = number == "1" or "-" in found["space"] or is_adjective(found)
    single = single or bool(_FRACTION.search(before))
    name = _INFLECTED.sub(lambda m: (m[1] or "") if single else m[2], _UNITS[unit])
    return f"{number} {name}"
