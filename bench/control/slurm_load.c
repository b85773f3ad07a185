/* slurm_load COUNT SECONDS: submits jobs through libslurm, one after the other, and prints how it went as one line of
   JSON and the ids to standard error. COUNT 0: until the time is over. bench/control/run compiles it where libslurm-dev
   is installed; it is no part of Freshet's build. */
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static int ascending(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  size_t count = strtoul(argv[1], NULL, 10), done = 0, room = 1 << 20;
  double seconds = strtod(argv[2], NULL);
  double* took = malloc(room * sizeof *took);
  char* environment[] = {"PATH=/usr/bin:/bin", NULL};
  slurm_init(NULL);
  double begin = now_ms();
  while ((count ? done < count : now_ms() - begin < seconds * 1e3) && done < room) {
    job_desc_msg_t job;
    submit_response_msg_t* answer = NULL;
    slurm_init_job_desc_msg(&job);
    job.name = "bench";
    job.script = "#!/bin/sh\ntrue\n";
    job.user_id = getuid();
    job.group_id = getgid();
    job.work_dir = "/";
    job.std_out = job.std_err = "/dev/null";
    job.environment = environment;
    job.env_size = 1;
    job.min_nodes = 1;
    job.num_tasks = 1;
    double sent = now_ms();
    if (slurm_submit_batch_job(&job, &answer) != SLURM_SUCCESS) {
      fprintf(stderr, "slurm_load: %s\n", slurm_strerror(slurm_get_errno()));
      return 1;
    }
    took[done++] = now_ms() - sent;
    fprintf(stderr, "%u\n", answer->job_id);
    slurm_free_submit_response_response_msg(answer);
  }
  double all = now_ms() - begin;
  qsort(took, done, sizeof *took, ascending);
  printf("{\"acknowledged\": %zu, \"seconds\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n", done,
         all / 1e3, done ? took[done / 2] : 0, done ? took[done * 99 / 100] : 0, done ? took[done - 1] : 0);
  return 0;
}
