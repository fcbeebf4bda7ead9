#include "residency/first_residents.h"

namespace krasis {

std::vector<ResidentExpert> first_residents(std::span<const std::int64_t> experts,
                                            std::int64_t slots) {
  std::vector<std::int64_t> taken(experts.size());
  for (bool more = slots > 0; more;) {
    more = false;
    for (std::size_t layer = 0; layer < experts.size() && slots > 0; ++layer) {
      if (taken[layer] == experts[layer]) continue;
      ++taken[layer];
      --slots;
      more = true;
    }
  }
  std::vector<ResidentExpert> residents;
  for (std::size_t layer = 0; layer < experts.size(); ++layer) {
    for (int expert = 0; expert < taken[layer]; ++expert)
      residents.push_back({static_cast<int>(layer), expert});
  }
  return residents;
}

}  // namespace krasis
