#include "base/topology.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>

namespace krasis {
namespace {

// A /sys and /proc made for one test.
class FakeRoot {
 public:
  FakeRoot()
      : path_(std::filesystem::temp_directory_path() /
              ("krasis-topology-" + std::to_string(getpid()))) {}
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;
  ~FakeRoot() { std::filesystem::remove_all(path_); }

  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text << '\n';
  }
  void add_processor(int processor, int core, int package) const {
    const std::string folder = "sys/devices/system/cpu/cpu" + std::to_string(processor);
    write(folder + "/topology/core_id", std::to_string(core));
    write(folder + "/topology/physical_package_id", std::to_string(package));
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(Topology, HyperthreadsAreOneCore) {
  const FakeRoot root;
  for (int n = 0; n < 4; ++n) root.add_processor(n, n % 2, 0);
  const std::vector<int> allowed = {0, 1, 2, 3};
  const Topology topology = read_topology(allowed, root.path());
  ASSERT_EQ(topology.cores.size(), 2U);
  EXPECT_EQ(topology.cores[0].processors, (std::vector<int>{0, 2}));
  EXPECT_EQ(topology.cores[1].processors, (std::vector<int>{1, 3}));
}

TEST(Topology, OnlyAllowedProcessorsCount) {
  const FakeRoot root;
  for (int n = 0; n < 4; ++n) root.add_processor(n, n, 0);
  const std::vector<int> allowed = {3, 1};
  const Topology topology = read_topology(allowed, root.path());
  ASSERT_EQ(topology.cores.size(), 2U);
  EXPECT_EQ(topology.cores[0].processors, (std::vector<int>{1}));
}

TEST(Topology, EqualCoreNumbersOfTwoPackagesAreTwoCoresOnTheirNodes) {
  const FakeRoot root;
  root.add_processor(0, 0, 0);
  root.add_processor(1, 0, 1);
  root.write("sys/devices/system/node/online", "0-1");
  root.write("sys/devices/system/node/node0/cpulist", "0");
  root.write("sys/devices/system/node/node1/cpulist", "1");
  const std::vector<int> allowed = {0, 1};
  const Topology topology = read_topology(allowed, root.path());
  ASSERT_EQ(topology.cores.size(), 2U);
  EXPECT_EQ(topology.nodes(), 2);
  EXPECT_EQ(topology.cores[1].node, 1);
}

TEST(Topology, ReadsCacheSizes) {
  const FakeRoot root;
  root.add_processor(0, 0, 0);
  const std::string cache = "sys/devices/system/cpu/cpu0/cache/index";
  const char* const entries[4][3] = {{"1", "Data", "32K"},
                                     {"1", "Instruction", "64K"},
                                     {"2", "Unified", "512K"},
                                     {"3", "Unified", "32M"}};
  for (int n = 0; n < 4; ++n) {
    root.write(cache + std::to_string(n) + "/level", entries[n][0]);
    root.write(cache + std::to_string(n) + "/type", entries[n][1]);
    root.write(cache + std::to_string(n) + "/size", entries[n][2]);
  }
  const std::vector<int> allowed = {0};
  const Topology topology = read_topology(allowed, root.path());
  EXPECT_EQ(topology.l1_bytes, 32U << 10);
  EXPECT_EQ(topology.l2_bytes, 512U << 10);
  EXPECT_EQ(topology.l3_bytes, 32U << 20);
}

TEST(Topology, TheLeastLimitOfTheControlGroupsCounts) {
  const FakeRoot root;
  for (int n = 0; n < 8; ++n) root.add_processor(n, n, 0);
  root.write("proc/self/cgroup", "0::/outer/inner");
  root.write("sys/fs/cgroup/outer/cpu.max", "250000 100000");
  root.write("sys/fs/cgroup/outer/inner/cpu.max", "max 100000");
  const std::vector<int> allowed = {0, 1, 2, 3, 4, 5, 6, 7};
  const Topology topology = read_topology(allowed, root.path());
  EXPECT_DOUBLE_EQ(topology.processor_limit, 2.5);
  EXPECT_EQ(topology.usable_cores(), 3);
}

TEST(Topology, TheFirstVersionOfControlGroupsCountsToo) {
  const FakeRoot root;
  root.write("proc/self/cgroup", "4:cpu,cpuacct:/job");
  root.write("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "100000");
  root.write("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000");
  const std::vector<int> allowed = {0, 1};
  const Topology topology = read_topology(allowed, root.path());
  EXPECT_EQ(topology.cores.size(), 2U);
  EXPECT_EQ(topology.usable_cores(), 1);
}

TEST(Topology, WithoutAnyFileThereIsStillACore) {
  const Topology topology = read_topology({}, "/nonexistent");
  EXPECT_EQ(topology.usable_cores(), 1);
  EXPECT_EQ(topology.nodes(), 1);
}

TEST(Topology, ThisMachineHasACoreForEachThreadOfADefaultPool) {
  const Topology topology = read_topology();
  EXPECT_GE(topology.usable_cores(), 1);
  EXPECT_FALSE(topology.cores.front().processors.empty());
}

TEST(ProcessorLists, ReadRangesAndLeaveOutTheRest) {
  EXPECT_EQ(parse_processor_list("0-2,5,x,7-6,-1,9-"), (std::vector<int>{0, 1, 2, 5}));
  EXPECT_TRUE(parse_processor_list("").empty());
}

}  // namespace
}  // namespace krasis
