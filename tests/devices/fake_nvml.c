/* A small libnvidia-ml: enough of NVML for nvidia-ml-py and gpufit, with every failure to order.

   Card 0 is a Tesla T4, card 1 an A100 divided into two slices. GPUFIT_NVML_FAIL="function=code,..." makes functions
   fail with that code, and so does fake_fail() within one process. Signatures: nvml.h of driver 560. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;
enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef struct { const char *name, *uuid; u64 total, reserved, free, used; int major, minor, slices; } Card;
typedef struct { u64 total, free, used; } Memory;
typedef struct { u32 version; u64 total, reserved, free, used; } Memory2;
typedef struct { u32 gpu, memory; } Utilization;
typedef struct { u32 pid; u64 used; u32 gpu_instance, compute_instance; } Process;

#define MIB (1ULL << 20)
static Card cards[] = {
    {"Tesla T4", "GPU-5f0a3c1e-8d5b-6f62-4d1c-0f5f0b6d7a11", 15360 * MIB, 445 * MIB, 14000 * MIB, 915 * MIB, 7, 5, -1},
    {"NVIDIA A100-SXM4-40GB", "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77", 40960 * MIB, 941 * MIB, 39970 * MIB,
     49 * MIB, 8, 0, 2},
};
static Card slices[] = {
    {"NVIDIA A100-SXM4-40GB MIG 3g.20gb", "MIG-c7384736-a75d-5afc-978f-d2f1294409fd", 19968 * MIB, 0, 19930 * MIB,
     37 * MIB, 8, 0, -1},
    {"NVIDIA A100-SXM4-40GB MIG 1g.5gb", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d", 4864 * MIB, 0, 4851 * MIB,
     12 * MIB, 8, 0, -1},
};

static char failing[256]; /* names between commas */
static int failing_code;
static u64 used_by_process = 800 * MIB;

void fake_fail(const char *function, int code) {
    snprintf(failing, sizeof failing, ",%s,", function);
    failing_code = code;
}
void fake_process_size(u64 bytes) { used_by_process = bytes; }

static int fails(const char *function) {
    char name[96];
    snprintf(name, sizeof name, ",%s,", function);
    if (failing_code && strstr(failing, name)) return failing_code;
    const char *orders = getenv("GPUFIT_NVML_FAIL");
    const char *found = orders ? strstr(orders, function) : NULL;
    if (found && found[strlen(function)] == '=') {
        int code = atoi(found + strlen(function) + 1);
        if (code < 0) for (;;) pause(); /* hangs, as a broken driver does */
        return code;
    }
    return OK;
}
#define FAIL_IF_ORDERED { int code = fails(__func__); if (code) return code; }
static int is_slice(const Card *card) { return card == &slices[0] || card == &slices[1]; }

int nvmlInitWithFlags(u32 flags) { FAIL_IF_ORDERED return OK; }
int nvmlShutdown(void) { FAIL_IF_ORDERED return OK; }
const char *nvmlErrorString(int code) { static char text[32]; snprintf(text, sizeof text, "fake error %d", code); return text; }
int nvmlSystemGetDriverVersion(char *text, u32 size) { FAIL_IF_ORDERED snprintf(text, size, "560.35.05"); return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { FAIL_IF_ORDERED *version = 12060; return OK; }
int nvmlDeviceGetCount_v2(u32 *count) { FAIL_IF_ORDERED *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(u32 index, Card **card) {
    FAIL_IF_ORDERED
    if (index > 1) return INVALID_ARGUMENT;
    *card = &cards[index];
    return OK;
}
int nvmlDeviceGetName(Card *card, char *text, u32 size) { FAIL_IF_ORDERED snprintf(text, size, "%s", card->name); return OK; }
int nvmlDeviceGetUUID(Card *card, char *text, u32 size) { FAIL_IF_ORDERED snprintf(text, size, "%s", card->uuid); return OK; }
int nvmlDeviceGetMemoryInfo(Card *card, Memory *memory) {
    FAIL_IF_ORDERED
    *memory = (Memory){card->total, card->free, card->used + card->reserved};
    return OK;
}
int nvmlDeviceGetMemoryInfo_v2(Card *card, Memory2 *memory) {
    FAIL_IF_ORDERED
    if (memory->version != 0x02000028) return INVALID_ARGUMENT;
    *memory = (Memory2){memory->version, card->total, card->reserved, card->free, card->used};
    return OK;
}
int nvmlDeviceGetUtilizationRates(Card *card, Utilization *rates) {
    FAIL_IF_ORDERED
    if (is_slice(card)) return NOT_SUPPORTED;
    *rates = (Utilization){12, 3};
    return OK;
}
int nvmlDeviceGetTemperature(Card *card, int sensor, u32 *celsius) { FAIL_IF_ORDERED *celsius = 41; return OK; }
int nvmlDeviceGetPowerUsage(Card *card, u32 *milliwatts) { FAIL_IF_ORDERED *milliwatts = 27340; return OK; }
int nvmlDeviceGetEnforcedPowerLimit(Card *card, u32 *milliwatts) { FAIL_IF_ORDERED *milliwatts = 70000; return OK; }
int nvmlDeviceGetCudaComputeCapability(Card *card, int *major, int *minor) {
    FAIL_IF_ORDERED
    *major = card->major, *minor = card->minor;
    return OK;
}
int nvmlDeviceGetMigMode(Card *card, u32 *current, u32 *pending) {
    FAIL_IF_ORDERED
    if (card->slices < 0) return NOT_SUPPORTED;
    *current = *pending = 1;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(Card *card, u32 *count) { FAIL_IF_ORDERED *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(Card *card, u32 index, Card **slice) {
    FAIL_IF_ORDERED
    if ((int)index >= card->slices) return NOT_FOUND;
    *slice = &slices[index];
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Card *card, u32 *count, Process *found) {
    FAIL_IF_ORDERED
    if (card != &cards[0]) { *count = 0; return OK; }
    if (*count < 1) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    found[0] = (Process){4821, used_by_process, ~0u, ~0u};
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v2(Card *card, u32 *count, Process *found) {
    FAIL_IF_ORDERED
    if (card != &cards[0]) { *count = 0; return OK; }
    if (*count < 1) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    found[0] = (Process){4821, used_by_process, ~0u, ~0u};
    return OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Card *card, u32 *count, Process *found) { FAIL_IF_ORDERED *count = 0; return OK; }
int nvmlSystemGetProcessName(u32 pid, char *text, u32 size) { FAIL_IF_ORDERED snprintf(text, size, "/usr/bin/python3"); return OK; }
