"""AMCT's own Python code, from a checkout, on the few modules that it needs; nothing of it is copied.

Its package imports everything (configuration, quantization, a compiled library) at once; here only the modules of
tensor decomposition are loaded, under the package names that their relative imports expect.
"""

import importlib.util
import logging
import os
import subprocess
import sys
import types

PACKAGE = 'amct_checkout'


def module(name, **members):
    made = types.ModuleType(name)
    made.__path__ = []
    for key, value in members.items():
        setattr(made, key, value)
    sys.modules[name] = made
    return made


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def tensor_decompose(checkout, library_folder=None):
    """AMCT's module `tensor_decompose`; with a folder that holds its compiled library, `auto_decomposition` works too."""
    base = os.path.join(checkout, 'amct_pytorch', 'classic', 'graph_based')
    inner = f'{PACKAGE}.amct_pytorch'
    for name in (PACKAGE, inner, f'{inner}.common', f'{inner}.common.decomposition', f'{inner}.common.utils'):
        module(name)
    module(f'{inner}.utils')
    module(f'{inner}.tensor_decompose')
    module(f'{inner}.common.utils.files', check_files_exist=lambda paths: None)
    quiet = types.SimpleNamespace(logi=logging.debug, logw=logging.warning, loge=logging.error, logd=logging.debug)
    module(f'{inner}.utils.log', LOGGER=quiet)
    library = module(f'{inner}.lib')
    library.__file__ = os.path.join(library_folder or '', '__init__.py')
    sys.modules[inner].lib = library
    load(
        f'{inner}.common.decomposition.decomposition',
        os.path.join(base, 'common', 'decomposition', 'decomposition.py'),
    )
    return load(
        f'{inner}.tensor_decompose.tensor_decompose',
        os.path.join(base, 'amct_pytorch', 'tensor_decompose', 'tensor_decompose.py'),
    )


# Huawei's libboundscheck has these; the C library does the same for sizes that fit.
SECUREC = """
#include <cstring>
typedef int errno_t;
#ifndef EOK
#define EOK 0
#endif
inline int memcpy_s(void *to, size_t room, const void *from, size_t size) {
    if (size > room) return 34;
    std::memcpy(to, from, size);
    return 0;
}
inline int memset_s(void *to, size_t room, int value, size_t size) {
    if (size > room) return 34;
    std::memset(to, value, size);
    return 0;
}
"""


def compile_library(checkout, folder):
    """Compiles AMCT's rank estimation into `folder`; the reason when that does not work."""
    source = os.path.join(checkout, 'amct_pytorch', 'classic', 'graph_based', 'amct_tensor_decompose')
    with open(os.path.join(folder, 'securec.h'), 'w', encoding='utf-8') as file:
        file.write(SECUREC)
    names = ('tensor_decomposition.cpp', 'tensor_decomposition_api.cpp', 'vector.cpp')
    files = [os.path.join(source, 'src', name) for name in names]
    output = os.path.join(folder, 'libtensor_decompose.so')
    command = ['g++', '-O2', '-shared', '-fPIC', '-I', folder, '-I', os.path.join(source, 'inc'), *files, '-o', output]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return 'there is no g++ to compile its rank estimation with'
    return None if done.returncode == 0 else f'its rank estimation does not compile: {done.stderr.strip()[-200:]}'
