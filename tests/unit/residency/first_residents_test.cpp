#include "residency/first_residents.h"

#include <gtest/gtest.h>

namespace krasis {
namespace {

using Residents = std::vector<ResidentExpert>;

TEST(FirstResidents, AreAsManyOfEveryLayer) {
  const std::int64_t experts[] = {4, 4, 4};
  EXPECT_EQ(first_residents(experts, 7),
            (Residents{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {2, 0}, {2, 1}}));
}

TEST(FirstResidents, OfALayerWithFewExpertsAreAllAndTheOthersGetTheRest) {
  const std::int64_t experts[] = {1, 3};
  EXPECT_EQ(first_residents(experts, 3), (Residents{{0, 0}, {1, 0}, {1, 1}}));
}

TEST(FirstResidents, AreNoneWithoutSlotsAndAllWithMany) {
  const std::int64_t experts[] = {2, 1};
  EXPECT_EQ(first_residents(experts, 0), Residents());
  EXPECT_EQ(first_residents(experts, 100), (Residents{{0, 0}, {0, 1}, {1, 0}}));
}

}  // namespace
}  // namespace krasis
