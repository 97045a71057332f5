#pragma once

// Written by golden.py: do not edit.

#include <array>

// clang-format off
namespace reformer::model::golden {

inline constexpr std::array<double, 16> kGammaBlock = {
    0, 0, 0.907241154069, 0,
    0, 1.12521465739, 0.0936629083738, 0,
    0, 0.249131978177, 0, 0.610545218383,
    0.380763890933, 0.352100280371, 0.00647366695321, 0.181504116221,
};
inline constexpr std::array<double, 16> kMlpBlock = {
    0, 0.00755817854338, 0.74511807652, 0,
    0, 0.512707213053, 0.155942957456, 0,
    0, 0.377581095011, 0.70874568556, 0,
    0, 0.10088862877, 0, 0,
};
inline constexpr std::array<double, 48> kTransformerBlock = {
    1.23634246366, -0.13245004878, 0.166169223213, -0.24423391005,
    -0.238392960637, -0.622224565096, 1.11700141828, 0.51028296493,
    -0.103954344057, 0.36159890401, -0.834270440712, -0.981332282298,
    -0.483372325482, 0.403049126817, 0.199549817278, -0.206620464957,
    -0.641316513619, 0.405845042494, -0.151354274889, -0.631021573139,
    0.698875977872, -0.44585359545, 0.132480525044, 0.557607140704,
    0.257127516349, -0.595438906732, -0.67343953745, -0.842966663846,
    0.406554924539, -0.39408917061, -0.274487130407, 0.99830106259,
    1.52238295457, -1.06961765637, -0.760664450085, 0.834070242079,
    -0.693934562482, 0.663947401234, -0.478683875445, -0.242315648417,
    0.346289036008, 0.637149328507, 0.126215536286, -0.102220541902,
    -0.416522189103, -0.232573758848, 0.20631114537, -0.0402333555516,
};
inline constexpr std::array<double, 3> kGammaNetwork0 = {
    0.229654513618, 0.0272875881888, 0.0464264034387,
};
inline constexpr std::array<double, 3> kMlpNetwork0 = {
    0.0548984721416, -0.0890693857093, -0.201933709781,
};
inline constexpr std::array<double, 3> kTransformerNetwork0 = {
    0.758032238445, -0.244570075811, -0.0821764835473,
};
inline constexpr std::array<double, 2> kGammaNetwork1 = {
    -0.20938073332, -0.165067088174,
};
inline constexpr std::array<double, 2> kMlpNetwork1 = {
    -0.262576718039, -0.0498819345408,
};
inline constexpr std::array<double, 2> kTransformerNetwork1 = {
    -0.952233084456, 0.265078998997,
};
inline constexpr std::array<double, 4> kRatioTarget = {
    0.252358146897, 0.324034274723, 0.119205547906, 0.304402030474,
};
inline constexpr std::array<double, 4> kSharpRatioTarget = {
    0.169921544626, 0.46189464702, 0.00845989555945, 0.359723912795,
};
inline constexpr std::array<double, 4> kOneHotTarget = {
    0, 1, 0, 0,
};
inline constexpr std::array<double, 4> kSoftmaxTarget = {
    0.264863196555, 0.296730292436, 0.149233305276, 0.289173205733,
};
inline constexpr std::array<double, 4> kLosses = {
    2.19624986355, 2.8218870132, 0.542467065102, 2.46587679905,
};
inline constexpr std::array<double, 3> kJudgement = {
    0.567345274893, 0.14411298384, 0.320890609666,
};
inline constexpr std::array<double, 1> kExpectedLog2Us = {
    -0.940174019397,
};

}  // namespace reformer::model::golden
