// Residents that change while steps go on: what is in the slots and in the tables that steps read.
#include "cuda/expert_swaps.h"

#include <gtest/gtest.h>

#include "cuda/device_memory.h"
#include "cuda/placed_experts.h"
#include "gpu/device.h"
#include "quant/expert_tiles.h"

namespace krasis::cuda {
namespace {

constexpr int kLayers = 2, kExperts = 6, kSlots = 4;

class ExpertSwapsTest : public testing::Test {
 protected:
  ExpertSwapsTest()
      : layout_({.bits = 4, .group = 32}, 64, 32),
        program_memory_(layout_.layer_bytes(kExperts) * kLayers),
        layers_(make_layers()),
        memory_(0, stream_, {}),
        slots_(memory_, layers_, kSlots),
        copies_(layers_, ExpertCopies::Pinning::Allowed),
        context_{.layers = layers_,
                 .placement = placement_,
                 .rates = rates_,
                 .slots = slots_,
                 .copies = copies_,
                 .ring = {},
                 .memory = memory_,
                 .main = stream_,
                 .processor = test::device_ops()},
        swaps_(context_) {
    for (int slot = 0; slot < kSlots; ++slot) {
      const int layer = slot / 2, expert = slot % 2;  // experts 0 and 1 of both layers
      slots_.put(slot, {layer, expert});
      copies_.copy(slots_.slot(slot), bytes_of(layer, expert), layout_.expert_bytes);
    }
    copies_.stream().synchronize();
    slots_.publish();
  }

  std::vector<ExpertMatrices> make_layers() {
    std::vector<ExpertMatrices> layers(kLayers);
    for (std::size_t i = 0; i < program_memory_.bytes(); ++i)
      program_memory_.data()[i] = static_cast<std::byte>(i * 2654435761U >> 13);
    for (std::size_t l = 0; l < kLayers; ++l) {
      layers[l] = ExpertMatrices::of(layout_, kExperts,
                                     program_memory_.data() + l * layout_.layer_bytes(kExperts));
    }
    return layers;
  }
  const std::byte* bytes_of(int layer, int expert) const {
    return layers_[static_cast<std::size_t>(layer)].tiled->base +
           static_cast<std::size_t>(expert) * layout_.expert_bytes;
  }

  // As if tokens had chosen the layer's experts so often, over all.
  void choose(int layer, const std::vector<unsigned>& counts) {
    memory_.upload(reinterpret_cast<std::byte*>(swaps_.counts(layer)), counts.data(),
                   counts.size() * sizeof(unsigned));
  }
  void steps(int count) {
    for (int i = 0; i < count; ++i) {
      swaps_.before_step(1);
      stream_.synchronize();
      copies_.stream().synchronize();
    }
  }
  // Every expert that the device's table has is in that place, with its own bytes; nobody else is.
  void expect_tables_are_true() {
    int found = 0;
    for (int layer = 0; layer < kLayers; ++layer) {
      std::vector<const std::byte*> table(kExperts);
      memory_.download(table.data(), reinterpret_cast<const std::byte*>(slots_.table(layer)),
                       kExperts * sizeof(const std::byte*));
      for (int expert = 0; expert < kExperts; ++expert) {
        const std::byte* const place = table[static_cast<std::size_t>(expert)];
        const std::int64_t slot = slots_.slot_of(layer, expert);
        ASSERT_EQ(place, slot < 0 ? nullptr : slots_.slot(slot)) << layer << ", " << expert;
        if (place == nullptr) continue;
        ++found;
        std::vector<std::byte> bytes(layout_.expert_bytes);
        memory_.download(bytes.data(), place, bytes.size());
        EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), bytes_of(layer, expert)));
      }
    }
    EXPECT_LE(found, kSlots);
  }
  bool resident(int layer, int expert) const { return slots_.slot_of(layer, expert) >= 0; }

  ExpertLayout layout_;
  HostBuffer program_memory_;
  std::vector<ExpertMatrices> layers_;
  Stream stream_;
  DeviceMemory memory_;
  ExpertPlacement placement_;
  LearnedRates rates_{placement_};
  ExpertSlots slots_;
  ExpertCopies copies_;
  PlacedContext context_;
  ExpertSwaps swaps_;
};

TEST_F(ExpertSwapsTest, WhatIsChosenOftenBecomesResident) {
  choose(0, {90, 0, 0, 80, 0, 0});
  choose(1, {0, 3, 0, 0, 70, 0});
  for (int i = 0; i < 40; ++i) {
    steps(1);
    expect_tables_are_true();
  }
  EXPECT_EQ(swaps_.swaps(), 2);
  EXPECT_TRUE(resident(0, 0) && resident(0, 3) && resident(1, 4) && resident(1, 1));
  EXPECT_FALSE(resident(0, 1) || resident(1, 0));
}

TEST_F(ExpertSwapsTest, APromptIsLookedAtSoon) {
  choose(1, {0, 0, 0, 0, 0, 50});
  swaps_.after_pass(64);
  steps(3);
  EXPECT_TRUE(resident(1, 5));
  expect_tables_are_true();
}

TEST_F(ExpertSwapsTest, WithoutChoicesNothingChanges) {
  steps(100);
  EXPECT_EQ(swaps_.swaps(), 0);
  expect_tables_are_true();
}

TEST_F(ExpertSwapsTest, APlacementThatIsNotAdaptiveStays) {
  placement_.adaptive = false;
  choose(0, {0, 0, 0, 80, 0, 0});
  steps(100);
  EXPECT_EQ(swaps_.swaps(), 0);
}

TEST_F(ExpertSwapsTest, BeginsWithWhatWasHotBefore) {
  const std::vector<float> heat = {0, 27, 0, 0, 24, 21, 0, 0, 0, 0, 18, 0};
  swaps_.set_heat(heat);
  EXPECT_TRUE(resident(0, 1) && resident(0, 4) && resident(0, 5) && resident(1, 4));
  EXPECT_EQ(swaps_.heat(), heat);
  expect_tables_are_true();
}

}  // namespace
}  // namespace krasis::cuda
