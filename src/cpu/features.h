// What the processor we run on can do, asked once.
#pragma once

namespace krasis::cpu {

struct Features {
  bool avx2 = false;         // with FMA and F16C, as every such processor has them
  bool avx_vnni = false;     // vpdpbusd on 256 bits
  bool avx512 = false;       // F, BW, DQ, VL
  bool avx512_vnni = false;  // with avx512
  bool amx_int8 = false;     // with avx512_vnni, and the system lets this process use the tiles
};

const Features& features();

}  // namespace krasis::cpu
