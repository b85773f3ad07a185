// Golden command lines and environments of gangs.
#include "agent/launch.h"

#include "agent/cgroup_layout.h"
#include "agent/containment.h"
#include "tests/unit/agent/support.h"

namespace freshet::agent {
namespace {

LaunchConfig config() {
  LaunchConfig config;
  config.gang_dir = "/data/agent/gangs/g1";
  config.worker = "/opt/freshet/bin/freshet-worker";
  config.mpirun = "/usr/bin/mpirun";
  config.socket = "/data/agent/gangs/g1/supervisor.sock";
  config.shared_memory = "/dev/shm/freshet-g1";
  config.data_file = "/data/agent/gangs/g1/dataset.json";
  config.environment = {"PATH=/usr/bin:/bin",
                        "HOME=/root",
                        "SLURM_JOB_ID=7",
                        "PMI_RANK=0",
                        "OMPI_MCA_btl=tcp",
                        "PMIX_NAMESPACE=x",
                        "FRESHET_GANG=other",
                        "FRESHET_CRASH_AT=a.b.c",
                        "FRESHET_PRODUCTS=/etc/products",
                        "TMPDIR=/tmp",
                        "EQUALS=a=b",
                        "MLFLOW_TRACKING_URI=inherited"};
  return config;
}

v1::AttemptSpec attempt(uint32_t ranks) {
  v1::AttemptSpec attempt = train_attempt("train", ranks);
  attempt.set_gang_id("g1");
  attempt.set_metric_ring("/data/agent/gangs/g1/metrics.ring");
  return attempt;
}

TEST(LaunchTest, OneRankIsTheWorkerItself) {
  Command command = build_launch(attempt(1), config());
  EXPECT_EQ(command.argv, (std::vector<std::string>{"/opt/freshet/bin/freshet-worker", "--supervisor",
                                                    "/data/agent/gangs/g1/supervisor.sock"}));
  EXPECT_EQ(command.environment,
            (std::vector<std::string>{"EQUALS=a=b", "FRESHET_CRASH_AT=a.b.c", "FRESHET_GANG=g1",
                                      "FRESHET_PRODUCTS=/etc/products", "HOME=/root", "MLFLOW_TRACKING_URI=inherited",
                                      "PATH=/usr/bin:/bin", "TMPDIR=/data/agent/gangs/g1/tmp"}));
  EXPECT_EQ(command.working_directory, "/data/agent/gangs/g1");
}

TEST(LaunchTest, SeveralRanksRunUnderMpirunOnThisNodeAlone) {
  Command command = build_launch(attempt(2), config());
  // clang-format off: one option and its value a line
  EXPECT_EQ(command.argv,
            (std::vector<std::string>{
                "/usr/bin/mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none",
                "--mca", "plm", "isolated",
                "--mca", "oob_tcp_if_include", "lo",
                "--mca", "pml", "ob1",
                "--mca", "btl", "self,vader",
                "--mca", "orte_tmpdir_base", "/data/agent/gangs/g1/tmp",
                "--mca", "btl_vader_backing_directory", "/dev/shm/freshet-g1",
                "/opt/freshet/bin/freshet-worker", "--supervisor", "/data/agent/gangs/g1/supervisor.sock"}));
  // clang-format on
  EXPECT_EQ(command.environment,
            (std::vector<std::string>{"EQUALS=a=b", "FRESHET_CRASH_AT=a.b.c", "FRESHET_GANG=g1",
                                      "FRESHET_PRODUCTS=/etc/products", "HOME=/root", "MLFLOW_TRACKING_URI=inherited",
                                      "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
                                      "PATH=/usr/bin:/bin", "PMIX_MCA_gds=hash", "TMPDIR=/data/agent/gangs/g1/tmp"}));
}

TEST(LaunchTest, ACommandIsTheUsersOwnWithItsEnvironment) {
  v1::AttemptSpec spec = attempt(1);
  auto* step = spec.mutable_command()->mutable_step();
  for (const char* word : {"python3", "train.py"}) step->add_argv(word);
  auto set = [](v1::EnvironmentVariable* variable, const std::string& name, const std::string& value) {
    variable->set_name(name);
    variable->set_value(value);
  };
  set(step->add_environment(), "DEPTH", "3");
  set(step->add_environment(), "MLFLOW_TRACKING_URI", "the step's");
  set(spec.mutable_command()->add_environment(), "MLFLOW_TRACKING_URI", "http://127.0.0.1:7070");
  spec.mutable_command()->add_inputs()->set_path("/cache/a");
  spec.mutable_command()->add_inputs()->set_path("/cache/b");
  Command command = build_launch(spec, config());
  EXPECT_EQ(command.argv, (std::vector<std::string>{"python3", "train.py"}));
  EXPECT_EQ(command.working_directory, "/data/agent/gangs/g1/work");
  EXPECT_EQ(command.environment,
            (std::vector<std::string>{
                "DEPTH=3", "EQUALS=a=b", "FRESHET_CRASH_AT=a.b.c", "FRESHET_DATASET=/data/agent/gangs/g1/dataset.json",
                "FRESHET_EPOCH=1", "FRESHET_GANG=g1", "FRESHET_INPUTS=/cache/a:/cache/b",
                "FRESHET_METRIC_RING=/data/agent/gangs/g1/metrics.ring", "FRESHET_OUTPUT_DIR=/data/agent/gangs/g1/work",
                "FRESHET_PRODUCTS=/etc/products", "FRESHET_RUN_ID=0123456789abcdef0123456789abcdef", "FRESHET_SEED=7",
                "FRESHET_STEP=train", "FRESHET_SUPERVISOR=/data/agent/gangs/g1/supervisor.sock", "HOME=/root",
                "MLFLOW_TRACKING_URI=http://127.0.0.1:7070", "OMP_NUM_THREADS=1", "PATH=/usr/bin:/bin",
                "TMPDIR=/data/agent/gangs/g1/tmp"}));
}

TEST(CgroupLayoutTest, VersionTwoAlone) {
  auto layout = find_cgroups(
      "22 1 0:20 / /sys rw shared:2 - sysfs sysfs rw\n"
      "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  EXPECT_EQ(layout.unified, fs::path("/sys/fs/cgroup"));
  EXPECT_EQ(layout.pids, std::nullopt);
  EXPECT_EQ(layout.name(), "cgroup2");
}

TEST(CgroupLayoutTest, VersionTwoBesideTheControllersOfVersionOne) {
  auto layout = find_cgroups(
      "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
      "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
  EXPECT_EQ(layout.unified, fs::path("/sys/fs/cgroup/unified"));
  EXPECT_EQ(layout.pids, fs::path("/sys/fs/cgroup/pids"));
  EXPECT_EQ(layout.name(), "cgroup2-hybrid");
}

TEST(CgroupLayoutTest, AHierarchyWithoutControllersMakesNoHybrid) {
  auto layout = find_cgroups(
      "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  EXPECT_EQ(layout.name(), "cgroup2");
}

TEST(CgroupLayoutTest, NoVersionTwo) {
  EXPECT_EQ(find_cgroups("").unified, std::nullopt);
  EXPECT_EQ(find_cgroups("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n").unified, std::nullopt);
  // A part of the tree mounted into a container is not the tree.
  EXPECT_EQ(find_cgroups("41 31 0:38 /a /mnt rw - cgroup2 cgroup2 rw\n").unified, std::nullopt);
}

TEST(ContainmentTest, WhereNoGroupCanBeMadeTheSessionHolds) {
  const std::string gang = random_gang_id();
  CgroupLayout unwritable;
  unwritable.unified = "/proc/self/no-cgroups-here";
  for (const CgroupLayout& layout : {CgroupLayout(), unwritable}) {
    auto containment = make_containment(gang, 100, layout);
    EXPECT_EQ(containment->name(), "session");
    EXPECT_TRUE(containment->procs_fds().empty());
  }
}

}  // namespace
}  // namespace freshet::agent
