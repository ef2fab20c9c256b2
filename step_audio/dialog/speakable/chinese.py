"""Amounts, units, ranges and telephone numbers in Chinese, where the grammar misreads them."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = r"\d+(?:,\d{3})*(?:\.\d+)?"
_SCALE: Final = r"(?:万亿|千万|百万|十万|亿|万|千|百)"
_MONEY: Final = {
    **{
        "$": "美元",
        "¥": "元",
        "￥": "元",
        "€": "欧元",
        "£": "英镑",
        "₩": "韩元",
        "₹": "卢比",
        "₽": "卢布",
    },
    **{"฿": "泰铢", "₿": "比特币", "US$": "美元", "HK$": "港元", "A$": "澳元", "C$": "加元"},
    **{"NT$": "新台币", "S$": "新加坡元", "RMB": "元", "CNY": "元", "USD": "美元", "EUR": "欧元"},
    **{"JPY": "日元", "GBP": "英镑", "HKD": "港元", "JP¥": "日元", "CN¥": "元"},
}
_SIGNS: Final = "|".join(re.escape(sign) for sign in sorted(_MONEY, key=len, reverse=True))
_SUM: Final = re.compile(
    rf"(?<![A-Za-z])(-)?({_SIGNS})\s?(-)?({_NUMBER})\s?({_SCALE})?([kKMB](?![A-Za-z]))?"
    rf"(?:\s?[-–—~～]\s?(?:{_SIGNS})?\s?({_NUMBER})\s?({_SCALE})?)?(?:美元|美金|元|块)?"
)
_SUM_BEHIND: Final = re.compile(rf"({_NUMBER})\s?({_SCALE})?\s?({_SIGNS})(?![A-Za-z\d])")
_FACTORS: Final = {"k": "千", "K": "千", "M": "百万", "B": "十亿", "": ""}

_TABLE: Final = """
mmHg = 毫米汞柱
cmH2O = 厘米水柱
mmol/L = 毫摩尔每升
μmol/L = 微摩尔每升
umol/L = 微摩尔每升
nmol/L = 纳摩尔每升
pmol/L = 皮摩尔每升
mol/L = 摩尔每升
mg/dL = 毫克每分升
mg/L = 毫克每升
g/L = 克每升
g/dL = 克每分升
ng/mL = 纳克每毫升
pg/mL = 皮克每毫升
μg/L = 微克每升
ug/L = 微克每升
μg/mL = 微克每毫升
mg/kg = 毫克每千克
mg/m³ = 毫克每立方米
μg/m³ = 微克每立方米
U/L = 单位每升
IU/L = 国际单位每升
mIU/L = 毫国际单位每升
IU = 国际单位
kg/m^2 = 千克每平方米
g/cm^3 = 克每立方厘米
kg/m^3 = 千克每立方米
μg/m^3 = 微克每立方米
mg/m^3 = 毫克每立方米
m/s^2 = 米每二次方秒
m/s = 米每秒
km/s = 千米每秒
km/h = 公里每小时
kmh = 公里每小时
kWh = 千瓦时
MWh = 兆瓦时
mAh = 毫安时
Wh = 瓦时
Ah = 安时
kW = 千瓦
KW = 千瓦
MW = 兆瓦
GW = 吉瓦
W = 瓦
kV = 千伏
mV = 毫伏
V = 伏
mA = 毫安
kΩ = 千欧
Ω = 欧姆
kPa = 千帕
MPa = 兆帕
hPa = 百帕
Pa = 帕
kHz = 千赫兹
MHz = 兆赫兹
GHz = 吉赫兹
Hz = 赫兹
dB = 分贝
kcal = 千卡
cal = 卡
kJ = 千焦
μg = 微克
ug = 微克
mcg = 微克
ng = 纳克
μm = 微米
um = 微米
nm = 纳米
μL = 微升
μl = 微升
dL = 分升
mL = 毫升
ml = 毫升
ML = 毫升
L = 升
ms = 毫秒
μs = 微秒
ns = 纳秒
min = 分钟
bpm = 次每分钟
rpm = 转每分钟
km = 千米
KM = 千米
cm = 厘米
CM = 厘米
mm = 毫米
MM = 毫米
kg = 千克
KG = 千克
Kg = 千克
mg = 毫克
g = 克
m = 米
h = 小时
ha = 公顷
m^2 = 平方米
m2 = 平方米
m^3 = 立方米
m3 = 立方米
km^2 = 平方千米
km2 = 平方千米
cm^2 = 平方厘米
cm2 = 平方厘米
cm^3 = 立方厘米
cm3 = 立方厘米
mm^2 = 平方毫米
mmol = 毫摩尔
mol = 摩尔
°C = 摄氏度
°F = 华氏度
° = 度
次/分钟 = 次每分钟
次/分 = 次每分
次/秒 = 次每秒
个/小时 = 个每小时
Mbps = 兆比特每秒
Gbps = 吉比特每秒
MB/s = 兆字节每秒
rad/s = 弧度每秒
"""
_UNITS: Final = dict(line.split(" = ") for line in _TABLE.strip().splitlines())
_UNIT: Final = re.compile(
    r"(?<![A-Za-z\d.])(\d[\d,]*(?:\.\d+)?(?:\s?[-–—~～]\s?\d[\d,]*(?:\.\d+)?)?)\s?("
    + "|".join(
        re.escape(unit) for unit, said in sorted(_UNITS.items(), key=lambda u: -len(u[0])) if said
    )
    + r")(?![A-Za-z\d^/])"
)
_PER: Final = re.compile(
    r"(万元|亿元|元|块|千克|公斤|克|公里|米|升|次|个|人)/(斤|公斤|千克|克|吨|升|平方米|m2|m\^2|平|月|年|天|日|小时|分钟|分|秒|次|人|个|只|件|晚)"
)
_PER_MILLE: Final = re.compile(rf"({_NUMBER})‰")
_RANGE: Final = re.compile(
    r"(?<![\d\w.+=*/×-])(\d+(?:\.\d+)?%?)\s?[-–—~～]\s?(\d+(?:\.\d+)?%?)(?![\d.\w-]*[-=]|[A-Za-z\d])(?!\s*=)"
)
_ORDINAL_RANGE: Final = re.compile(r"(?<=第)(\d+)\s?[-–—~～]\s?(?=\d)")
_NAMED: Final = re.compile(r"(?<=[A-Za-z])-(?=\d)|(?<=[A-Za-z]\d)-(?=\d)")
_ISO_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(?=\d\d:)")
_ALL_DAY: Final = re.compile(r"(?<![\d/])24/7(?![\d/])")
_CHOICE: Final = re.compile(r"(?<![\d/.])(\d{3,})/(\d{3,})(?![\d/.])")
_HALF_DAY: Final = re.compile(r"(?<![\d:])(1[0-2]|\d)\s?([AaPp])[Mm](?![A-Za-z])")
_THOUSANDS: Final = re.compile(
    r"(?<![\dA-Za-z.])\d+(?:\.\d+)?[kK]-\d+(?:\.\d+)?[kK]|(?<=薪)\d+(?:\.\d+)?[kK]"
)
_TEN_THOUSANDS: Final = re.compile(r"(?<=\d)[wW](?=\+|[\u3400-\u9fff](?<![的电功灯]))")
_FIRST: Final = re.compile(r"\bNo\.?\s?(\d+)", re.I)
_MIXED: Final = re.compile(r"(?<![\d/])(\d+)\s(\d+)/(\d+)(?![\d/])")
_ABOUT: Final = re.compile(r"(?<![\d%])[~～≈](?=\s?\d)")
_GROUPED: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:[, ]\d{3})+(?![\d]|,\d)")
_POWER: Final = re.compile(r"\^(-?)(\d+)")
_LETTERED: Final = re.compile(r"(?<=[A-Za-z])\s?2\s?(?=[A-Z](?![A-Za-z]))")

_ABROAD: Final = re.compile(r"\+(\d{1,3})[\s-]?(\d[\d\s-]{5,14}\d)(?!\d)")
_TELEPHONE: Final = re.compile(
    r"(?<![\d.A-Za-z-])(?:1[3-9]\d[\s-]\d{4}[\s-]\d{4}|[48]00[\s-]\d{3,4}[\s-]\d{3,4}|0\d{2,3}[\s-]\d{3,4}[\s-]?\d{4}(?:(?:-|\s?转\s?)\d{1,5})?)(?![\d-])"
)
_ASKED: Final = re.compile(
    r"((?:电话|手机|热线|拨打|号码|致电|传真|客服|尾号|验证码|密码|编号|单号|QQ号?|微信号?|卡号|账号|邮编|邮政编码|邮政码)[^\d。，！？]{0,4})(\d[\d\s-]{2,18}\d)(?!\d|[年月日元%])"
)
_DIGITS: Final = "零幺二三四五六七八九"


def read_chinese(text: str) -> str:
    """Return a Chinese text with what its grammar misreads in words or plain figures."""
    text = _ISO_TIME.sub(r"\1 ", text)
    text = _THOUSANDS.sub(_thousands, text)
    text = _TEN_THOUSANDS.sub("万", text)
    text = _NAMED.sub(" ", text)
    text = _ALL_DAY.sub("24 7", text)
    text = _CHOICE.sub(r"\1、\2", text)
    text = _HALF_DAY.sub(lambda m: f"{'上午' if m[2] in 'Aa' else '下午'}{m[1]}点", text)
    text = _FIRST.sub(r"第\1", text)
    text = _ORDINAL_RANGE.sub(r"\1至第", text)
    text = _ABROAD.sub(lambda m: f"加{_dialled(m[1])}，{_dialled(m[2])}", text)
    text = _TELEPHONE.sub(lambda m: _dialled(m[0]), text)
    text = _ASKED.sub(lambda m: m[1] + _dialled(m[2]), text)
    text = _SUM.sub(_sum, text)
    text = _SUM_BEHIND.sub(lambda m: f"{_bare(m[1])}{m[2] or ''}{_MONEY[m[3]]}", text)
    text = _GROUPED.sub(lambda m: _bare(m[0]), text)
    text = _ABOUT.sub("约", text)
    text = _MIXED.sub(r"\1又\2/\3", text)
    text = _UNIT.sub(lambda m: f"{m[1]}{_UNITS[m[2]]}", text)
    text = _PER.sub(lambda m: f"{m[1]}每{'平方米' if m[2][0] == 'm' else m[2]}", text)
    text = _PER_MILLE.sub(r"千分之\1", text)
    text = _RANGE.sub(r"\1到\2", text)
    text = _LETTERED.sub(" to ", text)
    return _POWER.sub(_power, text)


def _thousands(found: re.Match[str]) -> str:
    said = re.sub(r"([\d.]+)[kK]", lambda m: f"{float(m[1]) * 1000:.0f}", found[0])
    return said.replace("-", "到")


def _bare(number: str) -> str:
    return number.replace(",", "").replace(" ", "")


def _sum(found: re.Match[str]) -> str:
    before, sign, behind, number, scale, letter, to, to_scale = found.groups()
    minus = "负" if before or behind else ""
    said = f"{minus}{_bare(number)}{scale or ''}{_FACTORS[letter or '']}"
    if to:
        said += f"到{_bare(to)}{to_scale or ''}"
    return f"{said}{_MONEY[sign]}"


def _power(found: re.Match[str]) -> str:
    if not found[1] and found[2] in "23":
        return "的平方" if found[2] == "2" else "的立方"
    return f"的{'负' if found[1] else ''}{found[2]}次方"


def _dialled(number: str) -> str:
    number, _, behind = number.partition("转")
    groups = re.findall(r"\d+", number)
    said = "，".join("".join(_DIGITS[int(digit)] for digit in group) for group in groups)
    return f"{said}转{_dialled(behind)}" if behind else said
