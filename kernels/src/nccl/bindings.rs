//! Made from kernels/nccl/nccl.h by `cargo xtask bindings`: change that.

pub const NCCL_VERSION_CODE: u32 = 21801;
pub const NCCL_UNIQUE_ID_BYTES: u32 = 128;
#[repr(C)]
#[derive(Debug)]
pub struct CUstream_st {
    _unused: [u8; 0],
}
pub type cudaStream_t = *mut CUstream_st;
#[repr(C)]
#[derive(Debug)]
pub struct ncclComm {
    _unused: [u8; 0],
}
pub type ncclComm_t = *mut ncclComm;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ncclUniqueId {
    pub internal: [::std::os::raw::c_char; 128usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ncclUniqueId"][::std::mem::size_of::<ncclUniqueId>() - 128usize];
    ["Alignment of ncclUniqueId"][::std::mem::align_of::<ncclUniqueId>() - 1usize];
    ["Offset of field: ncclUniqueId::internal"][::std::mem::offset_of!(ncclUniqueId, internal) - 0usize];
};
impl ncclResult_t {
    pub const ncclSuccess: ncclResult_t = ncclResult_t(0);
    pub const ncclUnhandledCudaError: ncclResult_t = ncclResult_t(1);
    pub const ncclSystemError: ncclResult_t = ncclResult_t(2);
    pub const ncclInternalError: ncclResult_t = ncclResult_t(3);
    pub const ncclInvalidArgument: ncclResult_t = ncclResult_t(4);
    pub const ncclInvalidUsage: ncclResult_t = ncclResult_t(5);
    pub const ncclRemoteError: ncclResult_t = ncclResult_t(6);
    pub const ncclInProgress: ncclResult_t = ncclResult_t(7);
    pub const ncclNumResults: ncclResult_t = ncclResult_t(8);
}
#[repr(transparent)]
#[derive(Debug, Copy, Clone, Hash, PartialEq, Eq)]
pub struct ncclResult_t(pub ::std::os::raw::c_uint);
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ncclConfig_v21700 {
    pub size: usize,
    pub magic: ::std::os::raw::c_uint,
    pub version: ::std::os::raw::c_uint,
    pub blocking: ::std::os::raw::c_int,
    pub cgaClusterSize: ::std::os::raw::c_int,
    pub minCTAs: ::std::os::raw::c_int,
    pub maxCTAs: ::std::os::raw::c_int,
    pub netName: *const ::std::os::raw::c_char,
    pub splitShare: ::std::os::raw::c_int,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ncclConfig_v21700"][::std::mem::size_of::<ncclConfig_v21700>() - 48usize];
    ["Alignment of ncclConfig_v21700"][::std::mem::align_of::<ncclConfig_v21700>() - 8usize];
    ["Offset of field: ncclConfig_v21700::size"][::std::mem::offset_of!(ncclConfig_v21700, size) - 0usize];
    ["Offset of field: ncclConfig_v21700::magic"][::std::mem::offset_of!(ncclConfig_v21700, magic) - 8usize];
    ["Offset of field: ncclConfig_v21700::version"]
        [::std::mem::offset_of!(ncclConfig_v21700, version) - 12usize];
    ["Offset of field: ncclConfig_v21700::blocking"]
        [::std::mem::offset_of!(ncclConfig_v21700, blocking) - 16usize];
    ["Offset of field: ncclConfig_v21700::cgaClusterSize"]
        [::std::mem::offset_of!(ncclConfig_v21700, cgaClusterSize) - 20usize];
    ["Offset of field: ncclConfig_v21700::minCTAs"]
        [::std::mem::offset_of!(ncclConfig_v21700, minCTAs) - 24usize];
    ["Offset of field: ncclConfig_v21700::maxCTAs"]
        [::std::mem::offset_of!(ncclConfig_v21700, maxCTAs) - 28usize];
    ["Offset of field: ncclConfig_v21700::netName"]
        [::std::mem::offset_of!(ncclConfig_v21700, netName) - 32usize];
    ["Offset of field: ncclConfig_v21700::splitShare"]
        [::std::mem::offset_of!(ncclConfig_v21700, splitShare) - 40usize];
};
pub type ncclConfig_t = ncclConfig_v21700;
impl ncclRedOp_t {
    pub const ncclSum: ncclRedOp_t = ncclRedOp_t(0);
    pub const ncclProd: ncclRedOp_t = ncclRedOp_t(1);
    pub const ncclMax: ncclRedOp_t = ncclRedOp_t(2);
    pub const ncclMin: ncclRedOp_t = ncclRedOp_t(3);
    pub const ncclAvg: ncclRedOp_t = ncclRedOp_t(4);
    pub const ncclNumOps: ncclRedOp_t = ncclRedOp_t(5);
    pub const ncclMaxRedOp: ncclRedOp_t = ncclRedOp_t(2147483647);
}
#[repr(transparent)]
#[derive(Debug, Copy, Clone, Hash, PartialEq, Eq)]
pub struct ncclRedOp_t(pub ::std::os::raw::c_uint);
impl ncclDataType_t {
    pub const ncclInt8: ncclDataType_t = ncclDataType_t(0);
    pub const ncclChar: ncclDataType_t = ncclDataType_t(0);
    pub const ncclUint8: ncclDataType_t = ncclDataType_t(1);
    pub const ncclInt32: ncclDataType_t = ncclDataType_t(2);
    pub const ncclInt: ncclDataType_t = ncclDataType_t(2);
    pub const ncclUint32: ncclDataType_t = ncclDataType_t(3);
    pub const ncclInt64: ncclDataType_t = ncclDataType_t(4);
    pub const ncclUint64: ncclDataType_t = ncclDataType_t(5);
    pub const ncclFloat16: ncclDataType_t = ncclDataType_t(6);
    pub const ncclHalf: ncclDataType_t = ncclDataType_t(6);
    pub const ncclFloat32: ncclDataType_t = ncclDataType_t(7);
    pub const ncclFloat: ncclDataType_t = ncclDataType_t(7);
    pub const ncclFloat64: ncclDataType_t = ncclDataType_t(8);
    pub const ncclDouble: ncclDataType_t = ncclDataType_t(8);
    pub const ncclBfloat16: ncclDataType_t = ncclDataType_t(9);
    pub const ncclNumTypes: ncclDataType_t = ncclDataType_t(10);
}
#[repr(transparent)]
#[derive(Debug, Copy, Clone, Hash, PartialEq, Eq)]
pub struct ncclDataType_t(pub ::std::os::raw::c_uint);
pub struct NcclApi {
    __library: ::libloading::Library,
    pub ncclGetVersion: Result<
        unsafe extern "C" fn(version: *mut ::std::os::raw::c_int) -> ncclResult_t,
        ::libloading::Error,
    >,
    pub ncclGetUniqueId:
        Result<unsafe extern "C" fn(uniqueId: *mut ncclUniqueId) -> ncclResult_t, ::libloading::Error>,
    pub ncclCommInitRankConfig: Result<
        unsafe extern "C" fn(
            comm: *mut ncclComm_t,
            nranks: ::std::os::raw::c_int,
            commId: ncclUniqueId,
            rank: ::std::os::raw::c_int,
            config: *mut ncclConfig_t,
        ) -> ncclResult_t,
        ::libloading::Error,
    >,
    pub ncclCommFinalize: Result<unsafe extern "C" fn(comm: ncclComm_t) -> ncclResult_t, ::libloading::Error>,
    pub ncclCommDestroy: Result<unsafe extern "C" fn(comm: ncclComm_t) -> ncclResult_t, ::libloading::Error>,
    pub ncclCommAbort: Result<unsafe extern "C" fn(comm: ncclComm_t) -> ncclResult_t, ::libloading::Error>,
    pub ncclGetErrorString: Result<
        unsafe extern "C" fn(result: ncclResult_t) -> *const ::std::os::raw::c_char,
        ::libloading::Error,
    >,
    pub ncclGetLastError:
        Result<unsafe extern "C" fn(comm: ncclComm_t) -> *const ::std::os::raw::c_char, ::libloading::Error>,
    pub ncclCommGetAsyncError: Result<
        unsafe extern "C" fn(comm: ncclComm_t, asyncError: *mut ncclResult_t) -> ncclResult_t,
        ::libloading::Error,
    >,
    pub ncclReduce: Result<
        unsafe extern "C" fn(
            sendbuff: *const ::std::os::raw::c_void,
            recvbuff: *mut ::std::os::raw::c_void,
            count: usize,
            datatype: ncclDataType_t,
            op: ncclRedOp_t,
            root: ::std::os::raw::c_int,
            comm: ncclComm_t,
            stream: cudaStream_t,
        ) -> ncclResult_t,
        ::libloading::Error,
    >,
    pub ncclBroadcast: Result<
        unsafe extern "C" fn(
            sendbuff: *const ::std::os::raw::c_void,
            recvbuff: *mut ::std::os::raw::c_void,
            count: usize,
            datatype: ncclDataType_t,
            root: ::std::os::raw::c_int,
            comm: ncclComm_t,
            stream: cudaStream_t,
        ) -> ncclResult_t,
        ::libloading::Error,
    >,
    pub ncclAllReduce: Result<
        unsafe extern "C" fn(
            sendbuff: *const ::std::os::raw::c_void,
            recvbuff: *mut ::std::os::raw::c_void,
            count: usize,
            datatype: ncclDataType_t,
            op: ncclRedOp_t,
            comm: ncclComm_t,
            stream: cudaStream_t,
        ) -> ncclResult_t,
        ::libloading::Error,
    >,
    pub ncclReduceScatter: Result<
        unsafe extern "C" fn(
            sendbuff: *const ::std::os::raw::c_void,
            recvbuff: *mut ::std::os::raw::c_void,
            recvcount: usize,
            datatype: ncclDataType_t,
            op: ncclRedOp_t,
            comm: ncclComm_t,
            stream: cudaStream_t,
        ) -> ncclResult_t,
        ::libloading::Error,
    >,
    pub ncclAllGather: Result<
        unsafe extern "C" fn(
            sendbuff: *const ::std::os::raw::c_void,
            recvbuff: *mut ::std::os::raw::c_void,
            sendcount: usize,
            datatype: ncclDataType_t,
            comm: ncclComm_t,
            stream: cudaStream_t,
        ) -> ncclResult_t,
        ::libloading::Error,
    >,
    pub ncclGroupStart: Result<unsafe extern "C" fn() -> ncclResult_t, ::libloading::Error>,
    pub ncclGroupEnd: Result<unsafe extern "C" fn() -> ncclResult_t, ::libloading::Error>,
}
impl NcclApi {
    pub unsafe fn new<P>(path: P) -> Result<Self, ::libloading::Error>
    where
        P: AsRef<::std::ffi::OsStr>,
    {
        let path = path.as_ref();
        let library = unsafe { ::libloading::Library::new(path) }?;
        unsafe { Self::from_library(library) }
    }
    pub unsafe fn from_library<L>(library: L) -> Result<Self, ::libloading::Error>
    where
        L: Into<::libloading::Library>,
    {
        let __library = library.into();
        let ncclGetVersion = unsafe { __library.get(b"ncclGetVersion\0") }.map(|sym| *sym);
        let ncclGetUniqueId = unsafe { __library.get(b"ncclGetUniqueId\0") }.map(|sym| *sym);
        let ncclCommInitRankConfig = unsafe { __library.get(b"ncclCommInitRankConfig\0") }.map(|sym| *sym);
        let ncclCommFinalize = unsafe { __library.get(b"ncclCommFinalize\0") }.map(|sym| *sym);
        let ncclCommDestroy = unsafe { __library.get(b"ncclCommDestroy\0") }.map(|sym| *sym);
        let ncclCommAbort = unsafe { __library.get(b"ncclCommAbort\0") }.map(|sym| *sym);
        let ncclGetErrorString = unsafe { __library.get(b"ncclGetErrorString\0") }.map(|sym| *sym);
        let ncclGetLastError = unsafe { __library.get(b"ncclGetLastError\0") }.map(|sym| *sym);
        let ncclCommGetAsyncError = unsafe { __library.get(b"ncclCommGetAsyncError\0") }.map(|sym| *sym);
        let ncclReduce = unsafe { __library.get(b"ncclReduce\0") }.map(|sym| *sym);
        let ncclBroadcast = unsafe { __library.get(b"ncclBroadcast\0") }.map(|sym| *sym);
        let ncclAllReduce = unsafe { __library.get(b"ncclAllReduce\0") }.map(|sym| *sym);
        let ncclReduceScatter = unsafe { __library.get(b"ncclReduceScatter\0") }.map(|sym| *sym);
        let ncclAllGather = unsafe { __library.get(b"ncclAllGather\0") }.map(|sym| *sym);
        let ncclGroupStart = unsafe { __library.get(b"ncclGroupStart\0") }.map(|sym| *sym);
        let ncclGroupEnd = unsafe { __library.get(b"ncclGroupEnd\0") }.map(|sym| *sym);
        Ok(NcclApi {
            __library,
            ncclGetVersion,
            ncclGetUniqueId,
            ncclCommInitRankConfig,
            ncclCommFinalize,
            ncclCommDestroy,
            ncclCommAbort,
            ncclGetErrorString,
            ncclGetLastError,
            ncclCommGetAsyncError,
            ncclReduce,
            ncclBroadcast,
            ncclAllReduce,
            ncclReduceScatter,
            ncclAllGather,
            ncclGroupStart,
            ncclGroupEnd,
        })
    }
    pub unsafe fn ncclGetVersion(&self, version: *mut ::std::os::raw::c_int) -> ncclResult_t {
        unsafe { (self.ncclGetVersion.as_ref().expect("Expected function, got error."))(version) }
    }
    pub unsafe fn ncclGetUniqueId(&self, uniqueId: *mut ncclUniqueId) -> ncclResult_t {
        unsafe { (self.ncclGetUniqueId.as_ref().expect("Expected function, got error."))(uniqueId) }
    }
    pub unsafe fn ncclCommInitRankConfig(
        &self,
        comm: *mut ncclComm_t,
        nranks: ::std::os::raw::c_int,
        commId: ncclUniqueId,
        rank: ::std::os::raw::c_int,
        config: *mut ncclConfig_t,
    ) -> ncclResult_t {
        unsafe {
            (self.ncclCommInitRankConfig.as_ref().expect("Expected function, got error."))(
                comm, nranks, commId, rank, config,
            )
        }
    }
    pub unsafe fn ncclCommFinalize(&self, comm: ncclComm_t) -> ncclResult_t {
        unsafe { (self.ncclCommFinalize.as_ref().expect("Expected function, got error."))(comm) }
    }
    pub unsafe fn ncclCommDestroy(&self, comm: ncclComm_t) -> ncclResult_t {
        unsafe { (self.ncclCommDestroy.as_ref().expect("Expected function, got error."))(comm) }
    }
    pub unsafe fn ncclCommAbort(&self, comm: ncclComm_t) -> ncclResult_t {
        unsafe { (self.ncclCommAbort.as_ref().expect("Expected function, got error."))(comm) }
    }
    pub unsafe fn ncclGetErrorString(&self, result: ncclResult_t) -> *const ::std::os::raw::c_char {
        unsafe { (self.ncclGetErrorString.as_ref().expect("Expected function, got error."))(result) }
    }
    pub unsafe fn ncclGetLastError(&self, comm: ncclComm_t) -> *const ::std::os::raw::c_char {
        unsafe { (self.ncclGetLastError.as_ref().expect("Expected function, got error."))(comm) }
    }
    pub unsafe fn ncclCommGetAsyncError(
        &self,
        comm: ncclComm_t,
        asyncError: *mut ncclResult_t,
    ) -> ncclResult_t {
        unsafe {
            (self.ncclCommGetAsyncError.as_ref().expect("Expected function, got error."))(comm, asyncError)
        }
    }
    pub unsafe fn ncclReduce(
        &self,
        sendbuff: *const ::std::os::raw::c_void,
        recvbuff: *mut ::std::os::raw::c_void,
        count: usize,
        datatype: ncclDataType_t,
        op: ncclRedOp_t,
        root: ::std::os::raw::c_int,
        comm: ncclComm_t,
        stream: cudaStream_t,
    ) -> ncclResult_t {
        unsafe {
            (self.ncclReduce.as_ref().expect("Expected function, got error."))(
                sendbuff, recvbuff, count, datatype, op, root, comm, stream,
            )
        }
    }
    pub unsafe fn ncclBroadcast(
        &self,
        sendbuff: *const ::std::os::raw::c_void,
        recvbuff: *mut ::std::os::raw::c_void,
        count: usize,
        datatype: ncclDataType_t,
        root: ::std::os::raw::c_int,
        comm: ncclComm_t,
        stream: cudaStream_t,
    ) -> ncclResult_t {
        unsafe {
            (self.ncclBroadcast.as_ref().expect("Expected function, got error."))(
                sendbuff, recvbuff, count, datatype, root, comm, stream,
            )
        }
    }
    pub unsafe fn ncclAllReduce(
        &self,
        sendbuff: *const ::std::os::raw::c_void,
        recvbuff: *mut ::std::os::raw::c_void,
        count: usize,
        datatype: ncclDataType_t,
        op: ncclRedOp_t,
        comm: ncclComm_t,
        stream: cudaStream_t,
    ) -> ncclResult_t {
        unsafe {
            (self.ncclAllReduce.as_ref().expect("Expected function, got error."))(
                sendbuff, recvbuff, count, datatype, op, comm, stream,
            )
        }
    }
    pub unsafe fn ncclReduceScatter(
        &self,
        sendbuff: *const ::std::os::raw::c_void,
        recvbuff: *mut ::std::os::raw::c_void,
        recvcount: usize,
        datatype: ncclDataType_t,
        op: ncclRedOp_t,
        comm: ncclComm_t,
        stream: cudaStream_t,
    ) -> ncclResult_t {
        unsafe {
            (self.ncclReduceScatter.as_ref().expect("Expected function, got error."))(
                sendbuff, recvbuff, recvcount, datatype, op, comm, stream,
            )
        }
    }
    pub unsafe fn ncclAllGather(
        &self,
        sendbuff: *const ::std::os::raw::c_void,
        recvbuff: *mut ::std::os::raw::c_void,
        sendcount: usize,
        datatype: ncclDataType_t,
        comm: ncclComm_t,
        stream: cudaStream_t,
    ) -> ncclResult_t {
        unsafe {
            (self.ncclAllGather.as_ref().expect("Expected function, got error."))(
                sendbuff, recvbuff, sendcount, datatype, comm, stream,
            )
        }
    }
    pub unsafe fn ncclGroupStart(&self) -> ncclResult_t {
        unsafe { (self.ncclGroupStart.as_ref().expect("Expected function, got error."))() }
    }
    pub unsafe fn ncclGroupEnd(&self) -> ncclResult_t {
        unsafe { (self.ncclGroupEnd.as_ref().expect("Expected function, got error."))() }
    }
}
impl NcclApi {
    /// The first function that the library lacks; the method of its name would panic.
    pub fn missing(&self) -> Option<&'static str> {
        [
            ("ncclGetVersion", self.ncclGetVersion.is_err()),
            ("ncclGetErrorString", self.ncclGetErrorString.is_err()),
            ("ncclGetLastError", self.ncclGetLastError.is_err()),
            ("ncclGetUniqueId", self.ncclGetUniqueId.is_err()),
            ("ncclCommInitRankConfig", self.ncclCommInitRankConfig.is_err()),
            ("ncclCommGetAsyncError", self.ncclCommGetAsyncError.is_err()),
            ("ncclCommFinalize", self.ncclCommFinalize.is_err()),
            ("ncclCommDestroy", self.ncclCommDestroy.is_err()),
            ("ncclCommAbort", self.ncclCommAbort.is_err()),
            ("ncclGroupStart", self.ncclGroupStart.is_err()),
            ("ncclGroupEnd", self.ncclGroupEnd.is_err()),
            ("ncclAllReduce", self.ncclAllReduce.is_err()),
            ("ncclReduceScatter", self.ncclReduceScatter.is_err()),
            ("ncclAllGather", self.ncclAllGather.is_err()),
            ("ncclReduce", self.ncclReduce.is_err()),
            ("ncclBroadcast", self.ncclBroadcast.is_err()),
        ]
        .into_iter()
        .find_map(|(name, is_missing)| is_missing.then_some(name))
    }
}
