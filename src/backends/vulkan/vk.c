#include "backends/vulkan/vulkan_device.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vulkan_proof.h"
#include "base/error.h"
#include "base/platform.h"

qdq_vk_functions qdq_vk;

static qdq_vk_machine_info machine;
static const char *loader; /* the one that was opened, or the one that is wanted first */
static const char *const VALIDATION_LAYER = "VK_LAYER_KHRONOS_validation";

static _Atomic uint32_t messages;
static char first_message[1024];
static bool validates;

uint32_t qdq_vulkan_messages(const char **first) {
    if (first) *first = first_message;
    return atomic_load(&messages);
}

bool qdq_vulkan_validates(void) {
    qdq_vk_machine();
    return validates;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL take_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                   VkDebugUtilsMessageTypeFlagsEXT type,
                                                   const VkDebugUtilsMessengerCallbackDataEXT *data, void *context) {
    (void)severity;
    (void)type;
    (void)context;
    static qdq_mutex mutex = QDQ_MUTEX_INIT;
    qdq_mutex_lock(&mutex);
    if (atomic_fetch_add(&messages, 1) == 0) snprintf(first_message, sizeof first_message, "%s", data->pMessage);
    qdq_mutex_unlock(&mutex);
    return VK_FALSE;
}

const char *qdq_vk_result_name(VkResult result) {
    switch (result) {
    case VK_SUCCESS: return "success";
    case VK_NOT_READY: return "not ready";
    case VK_TIMEOUT: return "timeout";
    case VK_INCOMPLETE: return "incomplete";
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "out of device memory";
    case VK_ERROR_OUT_OF_POOL_MEMORY: return "out of pool memory";
    case VK_ERROR_INITIALIZATION_FAILED: return "initialization failed";
    case VK_ERROR_DEVICE_LOST: return "device lost";
    case VK_ERROR_MEMORY_MAP_FAILED: return "memory map failed";
    case VK_ERROR_LAYER_NOT_PRESENT: return "layer not present";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "extension not present";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "feature not present";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "incompatible driver";
    case VK_ERROR_TOO_MANY_OBJECTS: return "too many objects";
    case VK_ERROR_FRAGMENTED_POOL: return "fragmented pool";
    default: return "unknown error";
    }
}

qdq_status qdq_vk_fail(const qdq_vk_physical *physical, const char *call, VkResult result) {
    bool memory = result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY ||
                  result == VK_ERROR_OUT_OF_POOL_MEMORY;
    return qdq_fail(memory ? QDQ_OUT_OF_MEMORY : QDQ_DEVICE_ERROR, "vulkan:%d (%s): %s: %s (%d)%s",
                    (int)(physical - machine.devices), physical->properties.deviceName, call,
                    qdq_vk_result_name(result), (int)result,
                    result == VK_ERROR_DEVICE_LOST ? "; close this device and open it anew" : "");
}

static bool has_layer(const char *name) {
    uint32_t n = 0;
    if (qdq_vk.vkEnumerateInstanceLayerProperties(&n, NULL) != VK_SUCCESS || n == 0) return false;
    VkLayerProperties *layers = calloc(n, sizeof *layers);
    bool found = false;
    if (layers && qdq_vk.vkEnumerateInstanceLayerProperties(&n, layers) == VK_SUCCESS)
        for (uint32_t i = 0; i < n; i++) found |= strcmp(layers[i].layerName, name) == 0;
    free(layers);
    return found;
}

static bool is_among(const VkExtensionProperties *extensions, uint32_t n, const char *name) {
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(extensions[i].extensionName, name) == 0) return true;
    return false;
}

static bool instance_has_extension(const char *name) {
    uint32_t n = 0;
    if (qdq_vk.vkEnumerateInstanceExtensionProperties(NULL, &n, NULL) != VK_SUCCESS || n == 0) return false;
    VkExtensionProperties *extensions = calloc(n, sizeof *extensions);
    bool found = extensions && qdq_vk.vkEnumerateInstanceExtensionProperties(NULL, &n, extensions) == VK_SUCCESS &&
                 is_among(extensions, n, name);
    free(extensions);
    return found;
}

static bool has_extension(VkPhysicalDevice device, const char *name) {
    uint32_t n = 0;
    if (qdq_vk.vkEnumerateDeviceExtensionProperties(device, NULL, &n, NULL) != VK_SUCCESS || n == 0) return false;
    VkExtensionProperties *extensions = calloc(n, sizeof *extensions);
    bool found = extensions &&
                 qdq_vk.vkEnumerateDeviceExtensionProperties(device, NULL, &n, extensions) == VK_SUCCESS &&
                 is_among(extensions, n, name);
    free(extensions);
    return found;
}

static bool load_functions(PFN_vkGetInstanceProcAddr get, VkInstance instance) {
    bool all = true;
#define LOAD(name) all &= (qdq_vk.name = (PFN_##name)get(instance, #name)) != NULL;
    if (!instance) {
        QDQ_VK_BEFORE_INSTANCE(LOAD)
    } else {
        QDQ_VK_OF_INSTANCE(LOAD)
    }
#undef LOAD
    return all;
}

static bool find_queues(qdq_vk_physical *p) {
    VkQueueFamilyProperties families[32];
    uint32_t n = 32;
    qdq_vk.vkGetPhysicalDeviceQueueFamilyProperties(p->handle, &n, families);
    const VkQueueFlags work = VK_QUEUE_COMPUTE_BIT | VK_QUEUE_GRAPHICS_BIT;
    p->compute_family = p->transfer_family = UINT32_MAX;
    for (uint32_t f = n; f-- > 0;) {
        if (families[f].queueCount == 0) continue;
        if (families[f].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            p->compute_family = f;
            p->timestamp_bits = families[f].timestampValidBits;
        }
        if ((families[f].queueFlags & VK_QUEUE_TRANSFER_BIT) && !(families[f].queueFlags & work))
            p->transfer_family = f;
    }
    if (p->transfer_family == UINT32_MAX) p->transfer_family = p->compute_family;
    return p->compute_family != UINT32_MAX;
}

static void describe_driver(qdq_vk_physical *p, const VkPhysicalDeviceDriverProperties *driver) {
    if (driver->driverName[0])
        snprintf(p->driver, sizeof p->driver, "%.60s %.60s", driver->driverName, driver->driverInfo);
    else
        snprintf(p->driver, sizeof p->driver, "Vulkan driver 0x%x", (unsigned)p->properties.driverVersion);
}

static bool inspect(VkPhysicalDevice handle, qdq_vk_physical *p) {
    *p = (qdq_vk_physical){.handle = handle};
    qdq_vk.vkGetPhysicalDeviceProperties(handle, &p->properties);
    if (p->properties.apiVersion < VK_API_VERSION_1_1 || !find_queues(p)) return false;
    if (p->properties.limits.maxPerStageDescriptorStorageBuffers < QDQ_VK_BINDINGS) return false;
    qdq_vk.vkGetPhysicalDeviceMemoryProperties(handle, &p->memory);
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceFloatControlsProperties controls = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES};
    VkPhysicalDeviceMaintenance3Properties sizes = {.sType =
                                                        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &sizes};
    bool known = has_extension(handle, VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME);
    if (known) {
        controls.pNext = all.pNext;
        all.pNext = &controls;
    }
    if (has_extension(handle, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME)) {
        driver.pNext = all.pNext;
        all.pNext = &driver;
    }
    qdq_vk.vkGetPhysicalDeviceProperties2(handle, &all);
    p->float_controls =
        (qdq_float_controls){known, controls.shaderDenormPreserveFloat32,
                             controls.shaderSignedZeroInfNanPreserveFloat32, controls.shaderRoundingModeRTEFloat32};
    p->portable_subset = has_extension(handle, QDQ_VK_PORTABILITY_SUBSET);
    p->max_allocation = sizes.maxMemoryAllocationSize;
    p->shared = p->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU ||
                p->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
    describe_driver(p, &driver);
    return true;
}

static int rank(const qdq_vk_physical *p) {
    switch (p->properties.deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return 4;
    default: return 3;
    }
}

static void find_devices(void) {
    VkPhysicalDevice handles[QDQ_VK_MAX_DEVICES];
    uint32_t n = QDQ_VK_MAX_DEVICES;
    VkResult result = qdq_vk.vkEnumeratePhysicalDevices(machine.instance, &n, handles);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) n = 0;
    for (int r = 0; r <= 4; r++)
        for (uint32_t i = 0; i < n; i++) {
            qdq_vk_physical *p = &machine.devices[machine.n_devices];
            if (inspect(handles[i], p) && rank(p) == r) machine.n_devices++;
        }
    if (machine.n_devices > 0) return;
    if (n == 0)
        snprintf(machine.missing, sizeof machine.missing, "%s finds no device; install the GPU's Vulkan driver",
                 loader);
    else
        snprintf(machine.missing, sizeof machine.missing,
                 "none of the %u devices has Vulkan 1.1, a compute queue and %d storage buffers; update the driver",
                 (unsigned)n, QDQ_VK_BINDINGS);
}

static void watch_messages(PFN_vkGetInstanceProcAddr get) {
    PFN_vkCreateDebugUtilsMessengerEXT create =
        (PFN_vkCreateDebugUtilsMessengerEXT)get(machine.instance, "vkCreateDebugUtilsMessengerEXT");
    VkDebugUtilsMessengerEXT messenger;
    VkDebugUtilsMessengerCreateInfoEXT info = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
                                               .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                                                                  VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
                                               .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                                                              VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
                                               .pfnUserCallback = take_message};
    validates = create && create(machine.instance, &info, NULL, &messenger) == VK_SUCCESS;
}

static qdq_library *open_loader(void) {
    for (const char *const *name = qdq_vulkan_loaders; *name; name++) {
        qdq_library *library = qdq_library_open(loader = *name);
        if (library) return library;
    }
    loader = qdq_vulkan_loaders[0];
    return NULL;
}

static void open_machine(void) {
    qdq_library *library = open_loader();
    if (!library) {
        snprintf(machine.missing, sizeof machine.missing,
                 "%s cannot be opened; install the Vulkan loader (Debian: libvulkan1)", loader);
        return;
    }
    PFN_vkGetInstanceProcAddr get = (PFN_vkGetInstanceProcAddr)qdq_library_symbol(library, "vkGetInstanceProcAddr");
    if (!get || !load_functions(get, NULL)) {
        snprintf(machine.missing, sizeof machine.missing, "%s is older than Vulkan 1.1; update it", loader);
        return;
    }
    const char *asked = getenv("QDQ_VULKAN_VALIDATION");
    bool validate = asked && strcmp(asked, "1") == 0 && has_layer(VALIDATION_LAYER);
    /* Loaders hide devices that are not wholly Vulkan's, such as MoltenVK's, from whom does not ask for them. (Numbers
     * and names that older headers lack.) */
    enum { ENUMERATE_PORTABILITY = 1 };
    const char *portability = "VK_KHR_portability_enumeration";
    bool portable = instance_has_extension(portability);
    const char *extensions[2];
    uint32_t n_extensions = 0;
    if (portable) extensions[n_extensions++] = portability;
    if (validate) extensions[n_extensions++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                     .pApplicationName = "qdq",
                                     .pEngineName = "qdq",
                                     .apiVersion = VK_API_VERSION_1_1};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .flags = portable ? ENUMERATE_PORTABILITY : 0,
                                 .pApplicationInfo = &application,
                                 .enabledLayerCount = validate ? 1 : 0,
                                 .ppEnabledLayerNames = &VALIDATION_LAYER,
                                 .enabledExtensionCount = n_extensions,
                                 .ppEnabledExtensionNames = extensions};
    VkResult result = qdq_vk.vkCreateInstance(&info, NULL, &machine.instance);
    if (result != VK_SUCCESS) {
        machine.instance = NULL;
        snprintf(machine.missing, sizeof machine.missing, "%s: vkCreateInstance: %s; install the GPU's Vulkan driver",
                 loader, qdq_vk_result_name(result));
        return;
    }
    if (!load_functions(get, machine.instance)) {
        snprintf(machine.missing, sizeof machine.missing, "%s lacks functions of Vulkan 1.1; update it", loader);
        return;
    }
    if (validate) watch_messages(get);
    find_devices();
}

const qdq_vk_machine_info *qdq_vk_machine(void) {
    static qdq_once once = QDQ_ONCE_INIT;
    qdq_run_once(&once, open_machine);
    return &machine;
}
